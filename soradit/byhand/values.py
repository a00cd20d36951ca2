"""The exercise's values as they are drawn: each tensor with its name, its label, what it holds, and its role."""

from torch import Tensor

from soradit.byhand.exercise import GRADIENTS_OF, Worked
from soradit.byhand.steps import Kind, Matrix, Role

GIVEN, RESULT, CARRIED = Role.GIVEN, Role.RESULT, Role.CARRIED


def matrices(worked: Worked) -> dict[str, Matrix]:
    """By name. Parameters bear the names that the product's state dict has."""
    all_of_them = [*_ends(worked), *_forward(worked), *_parameters(worked), *_training(worked)]
    return {matrix.name: matrix for matrix in all_of_them}


def _matrix(name: str, label: str, rows: Tensor, kind: Kind, role: Role = RESULT) -> Matrix:
    numbers = tuple(tuple(x + 0.0 for x in row) for row in rows.detach().tolist())  # + 0.0: no minus zero
    return Matrix(name=name, label=label, rows=numbers, kind=kind, role=role)


def _columns(tokens: Tensor) -> Tensor:
    """The product's tokens in rows, on any grid -> paper's columns."""
    return tokens.reshape(-1, tokens.shape[-1]).T


def _drawn(parameter: Tensor) -> Tensor:
    """A bias is a column on paper."""
    return parameter[:, None] if parameter.ndim == 1 else parameter


def _ends(w: Worked) -> list[Matrix]:
    """Pixels and latents, and the frozen layers between them."""
    frames = [
        _matrix(f"{name}_{i}", f"{label} {i}", frame, Kind.PIXELS, role)
        for name, label, video, role in (
            ("frame", "frame", w.video, GIVEN),
            ("generated", "frame", w.generated.video, RESULT),
        )
        for i, frame in enumerate(video[0, ..., 0], 1)
    ]
    frozen = [
        _matrix(f"{name}.project.{key}", label, _drawn(parameter), Kind.FROZEN, GIVEN)
        for name, layer in (("encoder", w.encoder), ("decoder", w.decoder))
        for key, label, parameter in (("weight", "weights", layer.weight), ("bias", "bias", layer.bias))
    ]
    return [
        *frames,
        *frozen,
        _matrix("patches", "patches", _columns(w.patches), Kind.PIXELS),
        _matrix("encoded", "before ReLU", _columns(w.encoded), Kind.LATENTS),
        _matrix("latents", "latents", _columns(w.latents), Kind.LATENTS),
        _matrix("noise", "noise", _columns(w.noise), Kind.NOISE, GIVEN),
        _matrix("noised", "noised", _columns(w.noised), Kind.LATENTS),
        _matrix("denoised", "noise-free", _columns(w.generated.denoised), Kind.LATENTS),
        _matrix("decoded", "before ReLU", _columns(w.generated.decoded), Kind.PIXELS),
        _matrix("generated_patches", "patches", _columns(w.generated.patches), Kind.PIXELS),
    ]


def _forward(w: Worked) -> list[Matrix]:
    """From the conditions to the predicted noise."""
    f = w.forward
    return [
        _matrix("text", "text", _columns(w.text), Kind.CONDITIONS, GIVEN),
        _matrix("timestep", "t", _columns(w.timestep), Kind.CONDITIONS, RESULT),
        _matrix("condition", "conditions", _columns(w.condition), Kind.CONDITIONS),
        _matrix("modulation", "scale, shift", _columns(f.modulation), Kind.CONDITIONS),
        _matrix("scale", "scale", _columns(f.scale), Kind.CONDITIONS, CARRIED),
        _matrix("shift", "shift", _columns(f.shift), Kind.CONDITIONS, CARRIED),
        _matrix("conditioned", "conditioned", _columns(f.conditioned), Kind.LATENTS),
        _matrix("query_key", "query, key", _columns(f.query_key), Kind.OTHER),
        _matrix("scores", "scores", f.scores[0, 0].T, Kind.OTHER),
        _matrix("attention", "attention", f.attention[0, 0].T, Kind.OTHER),
        _matrix("features", "features", _columns(f.features), Kind.LATENTS),
        _matrix("hidden", "hidden", _columns(f.hidden), Kind.OTHER),
        _matrix("activated", "activated", _columns(f.activated), Kind.OTHER),
        _matrix("predicted", "predicted", _columns(f.predicted), Kind.NOISE),
    ]


LAYERS = {
    "modulation.estimate": ("", 6),
    "to_qk": ("", 8),
    "feed_forward.0": (" 1", 10),
    "feed_forward.2": (" 2", 10),
}
"""What tells learnable layers apart: a number, and the step that they belong to."""


def _parameters(w: Worked) -> list[Matrix]:
    """The learnable ones: before, their gradients, and after the update."""
    made = []
    for name, parameter in w.trained.parameters.items():
        layer, _, part = name.rpartition(".")
        suffix, step = LAYERS[layer]
        label = f"weights{suffix}" if part == "weight" else f"bias{suffix}"
        where = f", step {step}" if part == "weight" else ""
        made += [
            _matrix(name, label, _drawn(parameter), Kind.LEARNABLE, GIVEN),
            _matrix(f"gradient.{name}", f"∂ {label}{where}", _drawn(w.trained.gradients[name]), Kind.OTHER),
            _matrix(f"updated.{name}", f"new {label}", _drawn(w.trained.updated[name]), Kind.LEARNABLE),
        ]
    return made


def _training(w: Worked) -> list[Matrix]:
    """Step 11: the error, the loss, gradients on the way back; and the same again after the update."""
    through_softmax = ("query_key", "conditioned")
    gradients = [
        _matrix(
            f"gradient.{name}",
            f"∂ {name.replace('_', ', ')}",
            _columns(w.trained.gradients[name]),
            Kind.OTHER,
            GIVEN if name in through_softmax else RESULT,
        )
        for name in GRADIENTS_OF
    ]
    return [
        *gradients,
        _matrix("target", "noise", _columns(w.trained.target), Kind.NOISE, CARRIED),
        _matrix("error", "error", _columns(w.trained.error), Kind.OTHER),
        _matrix("loss", "loss", w.trained.loss[None], Kind.OTHER),
        _matrix("predicted_after", "predicted now", _columns(w.trained.after.predicted), Kind.NOISE, GIVEN),
        _matrix("loss_after", "loss now", w.trained.loss_after[None], Kind.OTHER, GIVEN),
    ]
