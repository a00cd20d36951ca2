"""The exercise's numbers, and its 14 steps computed by the functions that generate and train use.

On paper a patch is a column, in the product a row: tensors here are the product's, ``(batch, ..., channels)``.

Where the exercise is simpler than the product, the simplification is a choice made here, of which production
functions to call and with what: OnPaper's schedule, CODED_PROMPT and ``binary``, and what PaperTransformer leaves out.
What those functions don't hand out is read back from them (``before_relu``, ``attention_scores``), not computed again.
The numbers are chosen so that float32 holds all of them exactly up to the update of step 11.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from soradit.diffusion.process import Noise, Times
from soradit.diffusion.sampler import sample
from soradit.media.patches import PatchSize, patchify, unpatchify
from soradit.model.autoencoder import LinearReLU
from soradit.model.conditioning import Modulation, concatenate_conditions
from soradit.model.dit import FeedForward, attend, modulate
from soradit.training.config import LoopConfig
from soradit.training.optimizer import adamw

PROMPT = "sora is sky"
T = 3
CLEAN = 4
"""The time at which no noise is left."""
PATCH_SIZE: PatchSize = (1, 2, 2)
LEARNING_RATE = 0.01

VIDEO = (((9, 3, 4, 4), (5, 3, 0, 0)), ((2, 1, 6, 0), (0, 0, 5, 6)))
"""Two frames of 2 x 4 grey pixels: a bright spot moves from left to right."""
CODED_PROMPT = (0.0, 1.0, -1.0)
"""What a text encoder says of PROMPT; the exercise gives it, the product has a CLIP compute it."""
NOISE = ((-2, -1), (1, 1), (0, 1), (-1, 0))
"""Drawn from a normal distribution and rounded; a pair a patch."""
ENCODER = ((1, -1, 0, 0), (1, 0, -1, 0)), (-1, -1)
DECODER = ((1, 1), (0, 1), (1, 0), (1, -1)), (1, 0, 0, 1)
MODULATION = ((1, 0, 0, 1, 0), (0, -1, 0, -1, 0), (2, 0, 1, 1, -1), (0, 1, -1, 1, 2))
"""Weights only: the biases are those that a fresh Modulation begins with, 1 for scales and 0 for shifts."""
QUERY_KEY = ((2, -2), (-2, 2))
"""Queries and keys of one number each, so that the score's sqrt(dim) is 1."""
EXPAND = ((-3, 2), (-1, 2)), (-3, 5)
CONTRACT = ((-1, 1), (-1, 1)), (-7, -6)


class OnPaper(Noise):
    """The exercise's schedule: latents stay whole, and the larger t, the smaller the noise: 4 - t times as large.

    Everything else is the product's noise-predicting process: add_noise, target, loss, and its sampler.
    """

    def signal(self, t: Times) -> Times:
        return torch.ones_like(t)

    def sigma(self, t: Times) -> Times:
        return CLEAN - t


def binary(t: int) -> Float[Tensor, "1 2"]:
    """3 -> [1, 1]: the exercise's stand-in for ``timestep_embedding``'s sines and cosines."""
    return torch.tensor([[float(t >> 1 & 1), float(t & 1)]])


def before_relu(layer: LinearReLU, x: Float[Tensor, "*b inputs"]) -> Float[Tensor, "*b outputs"]:
    """What LinearReLU's line, ``F.relu(super().forward(x))``, applies the ReLU to."""
    return nn.Linear.forward(layer, x)


def attention_weights(
    query: Float[Tensor, "b heads queries dim"], key: Float[Tensor, "b heads keys dim"]
) -> Float[Tensor, "b heads queries keys"]:
    """``attend`` pools the values that it is given: of the identity matrix, that leaves the weights themselves."""
    identity = torch.eye(key.shape[2], dtype=key.dtype).expand(*key.shape[:2], -1, -1)
    return attend(query, key, identity)


def attention_scores(
    query: Float[Tensor, "b heads queries dim"], key: Float[Tensor, "b heads keys dim"]
) -> Float[Tensor, "b heads queries keys"]:
    """The scores that ``attend`` keeps to itself, from the weights that its softmax makes of them.

    A further key, of zeros, scores 0; so the logarithm of any weight over that key's weight is a score. In float64
    no weight is too small to tell.
    """
    weights = attention_weights(query.double(), F.pad(key, (0, 0, 0, 1)).double())
    return (weights[..., :-1] / weights[..., -1:]).log().to(key.dtype)


@dataclass(frozen=True, kw_only=True)
class Forward:
    """What the transformer computes on its way, in order: steps 6 to 10."""

    modulation: Float[Tensor, "1 4"]
    scale: Float[Tensor, "1 1 2"]
    shift: Float[Tensor, "1 1 2"]
    conditioned: Float[Tensor, "1 4 2"]
    query_key: Float[Tensor, "1 4 2"]
    scores: Float[Tensor, "1 1 4 4"]
    attention: Float[Tensor, "1 1 4 4"]
    features: Float[Tensor, "1 4 2"]
    hidden: Float[Tensor, "1 4 2"]
    activated: Float[Tensor, "1 4 2"]
    predicted: Float[Tensor, "1 4 2"]


class PaperTransformer(nn.Module):
    """The production layers of one block, without normalisation, positions, values, text tokens, gate and residual."""

    def __init__(self) -> None:
        super().__init__()
        self.modulation = Modulation(condition_width=5, width=2, scales=1, shifts=1, gates=0)
        self.to_qk = nn.Linear(2, 2, bias=False)
        self.feed_forward = FeedForward(width=2, ratio=1)
        _set(self.modulation.estimate, MODULATION)
        _set(self.to_qk, QUERY_KEY)
        _set(self.feed_forward[0], *EXPAND)
        _set(self.feed_forward[2], *CONTRACT)

    def forward(self, noised: Float[Tensor, "1 4 2"], condition: Float[Tensor, "1 5"]) -> Forward:
        scale, shift = self.modulation(condition)
        conditioned = modulate(noised, scale, shift)
        query_key = self.to_qk(conditioned)
        query, key = rearrange(query_key, "b n (two d) -> two b 1 n d", two=2)
        features = attend(query, key, conditioned[:, None])[:, 0]
        expand, activate, contract = self.feed_forward
        hidden = expand(features)
        activated = activate(hidden)
        return Forward(
            modulation=self.modulation.estimate(condition),
            scale=scale,
            shift=shift,
            conditioned=conditioned,
            query_key=query_key,
            scores=attention_scores(query, key),
            attention=attention_weights(query, key),
            features=features,
            hidden=hidden,
            activated=activated,
            predicted=contract(activated),
        )


GRADIENTS_OF = ("predicted", "hidden", "features", "query_key", "conditioned")
"""Intermediate values whose gradients are shown, from the loss backwards."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Step 11."""

    target: Float[Tensor, "1 4 2"]
    error: Float[Tensor, "1 4 2"]
    loss: Float[Tensor, " 1"]
    gradients: dict[str, Tensor]
    """Gradients of GRADIENTS_OF, and of each parameter, by name."""
    parameters: dict[str, Tensor]
    """Before the update."""
    updated: dict[str, Tensor]
    after: Forward
    loss_after: Float[Tensor, " 1"]


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Steps 12 to 14."""

    denoised: Float[Tensor, "1 4 2"]
    decoded: Float[Tensor, "1 2 1 2 4"]
    """Before the ReLU."""
    patches: Float[Tensor, "1 2 1 2 4"]
    video: Float[Tensor, "1 2 2 4 1"]


@dataclass(frozen=True, kw_only=True)
class Worked:
    """Every value of the exercise, as the product's tensors."""

    encoder: LinearReLU
    decoder: LinearReLU
    video: Float[Tensor, "1 2 2 4 1"]
    patches: Float[Tensor, "1 2 1 2 4"]
    encoded: Float[Tensor, "1 2 1 2 2"]
    """Before the ReLU."""
    latents: Float[Tensor, "1 4 2"]
    noise: Float[Tensor, "1 4 2"]
    noised: Float[Tensor, "1 4 2"]
    text: Float[Tensor, "1 3"]
    timestep: Float[Tensor, "1 2"]
    condition: Float[Tensor, "1 5"]
    forward: Forward
    trained: Trained
    generated: Generated


def work() -> Worked:
    """All 14 steps, in order."""
    encoder, decoder = _frozen(*ENCODER), _frozen(*DECODER)
    transformer, process = PaperTransformer(), OnPaper()

    video = torch.tensor(VIDEO, dtype=torch.float32)[None, ..., None]
    patches = patchify(video, PATCH_SIZE)
    latents = rearrange(encoder(patches), "b t h w c -> b (t h w) c")
    noise = torch.tensor([NOISE], dtype=torch.float32)
    noised = process.add_noise(latents, noise, torch.tensor([float(T)]))
    text, timestep = torch.tensor([CODED_PROMPT]), binary(T)
    condition = concatenate_conditions(text, timestep)
    forward = transformer(noised, condition)
    return Worked(
        encoder=encoder,
        decoder=decoder,
        video=video,
        patches=patches,
        encoded=before_relu(encoder, patches),
        latents=latents,
        noise=noise,
        noised=noised,
        text=text,
        timestep=timestep,
        condition=condition,
        forward=forward,
        trained=_train(transformer, process, forward, latents, noise, condition),
        generated=_generate(decoder, process, noised, forward.predicted.detach()),
    )


def _train(
    transformer: PaperTransformer, process: OnPaper, forward: Forward, latents: Tensor, noise: Tensor, condition: Tensor
) -> Trained:
    """One step of the product's optimizer."""
    config = LoopConfig(steps=1, batch_size=1, learning_rate=LEARNING_RATE, weight_decay=0.0)
    optimizer = adamw(list(transformer.parameters()), config)
    parameters = {name: p.detach().clone() for name, p in transformer.named_parameters()}
    shown = {name: getattr(forward, name) for name in GRADIENTS_OF}
    for value in shown.values():
        value.retain_grad()
    loss = process.loss(forward.predicted, latents, noise)
    loss.sum().backward()
    optimizer.step()
    after = transformer(process.add_noise(latents, noise, torch.tensor([float(T)])), condition)
    return Trained(
        target=process.target(latents, noise),
        error=process.error(forward.predicted, latents, noise),
        loss=loss,
        gradients={name: value.grad for name, value in {**shown, **dict(transformer.named_parameters())}.items()},
        parameters=parameters,
        updated={name: p.detach().clone() for name, p in transformer.named_parameters()},
        after=after,
        loss_after=process.loss(after.predicted, latents, noise),
    )


def _generate(decoder: LinearReLU, process: OnPaper, noised: Tensor, predicted: Tensor) -> Generated:
    """One step of the product's sampler for models that predict noise, then the decoder."""
    times = torch.tensor([float(T), float(CLEAN)])
    denoised = sample(lambda x, t: predicted, noised, process=process, sampler="ddim", times=times)
    grid = rearrange(denoised, "b (t h w) c -> b t h w c", t=len(VIDEO), h=1)
    patches = decoder(grid)
    return Generated(
        denoised=denoised,
        decoded=before_relu(decoder, grid),
        patches=patches,
        video=unpatchify(patches, PATCH_SIZE),
    )


def _frozen(weight: tuple[tuple[int, ...], ...], bias: tuple[int, ...]) -> LinearReLU:
    layer = LinearReLU(len(weight[0]), len(weight))
    _set(layer, weight, bias)
    return layer.requires_grad_(False)


@torch.no_grad()
def _set(layer: nn.Module, weight: tuple[tuple[int, ...], ...], bias: tuple[int, ...] | None = None) -> None:
    assert isinstance(layer, nn.Linear)
    layer.weight.copy_(torch.tensor(weight, dtype=torch.float32))
    if bias is not None:
        layer.bias.copy_(torch.tensor(bias, dtype=torch.float32))
