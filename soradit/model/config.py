"""What the JSON files of a weights folder say of its parts. Needs no torch, so that mistakes are told at once."""

import dataclasses
import json
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from soradit.errors import SoraditError, UsageError, first_line

SAMPLER_NAMES = {"flow": ("ab2", "dpmpp", "euler"), "noise": ("ddim",)}
"""For each process the samplers that can walk it (see ``soradit.diffusion.sampler``), the default first."""
PRESETS: dict[str, dict[str, int]] = {
    "tiny": {"depth": 6, "width": 256, "heads": 4},
    "skies": {"depth": 8, "width": 320, "heads": 5},
    "S": {"depth": 12, "width": 384, "heads": 6},
    "B": {"depth": 12, "width": 768, "heads": 12},
    "L": {"depth": 24, "width": 1024, "heads": 16},
    "XL": {"depth": 28, "width": 1152, "heads": 16},
}
"""Depth, width and heads by name; S to XL are those of the DiT paper, table 1."""
MAX_TOKENS = 16_384
"""That the transformer sees at once: 32 times the bundled weights' own; attention's cost grows with the square."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Sizes of the autoencoder, and the statistics that normalise its latents."""

    patch_size: tuple[int, int, int] = (4, 8, 8)
    """Frames, height and width in pixels of the first stage's patches."""
    widths: tuple[int, ...] = (192, 384, 512)
    """Features per position at each stage; each stage after the first halves height and width."""
    blocks_per_stage: int = 1
    latent_channels: int = 128
    """Numbers per latent vector."""
    refiner_width: int = 0
    """Features of what refines decoded frames; 0 is nothing that does."""
    latent_mean: tuple[float, ...] | None = None
    """Per channel, over training clips; None until the autoencoder has been fitted."""
    latent_std: tuple[float, ...] | None = None
    """What each channel is divided by: the same for all, so that what says more of the picture stays larger."""

    def __post_init__(self) -> None:
        if len(self.patch_size) != 3 or min(self.patch_size) < 1:
            raise ValueError(f"patch_size must be three positive numbers, not {self.patch_size}")
        if self.refiner_width < 0:
            raise ValueError(f"refiner_width must be 0 or more, not {self.refiner_width}")
        if self.refiner_width and any(pixels % 2 for pixels in self.token_size[1:]):
            raise ValueError(f"a refiner takes tokens of even height and width, not {self.token_size[1:]}")
        for name in ("latent_mean", "latent_std"):
            if (numbers := getattr(self, name)) is not None and len(numbers) != self.latent_channels:
                raise ValueError(f"{name} must be {self.latent_channels} numbers, not {len(numbers)}")

    @property
    def token_size(self) -> tuple[int, int, int]:
        """Frames, height and width in pixels that one latent vector stands for."""
        frames, height, width = self.patch_size
        merged = 2 ** (len(self.widths) - 1)
        return frames, height * merged, width * merged


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How these weights generate unless told otherwise: what they were trained for, and what measured best."""

    process: str = "flow"
    """``flow`` or ``noise``: what the transformer was trained to predict."""
    sampler: str = "ab2"
    steps: int = 20
    guidance: float = 3.0
    """1 is none; 0 leaves the prompt out."""
    guidance_from: float = 0.0
    """Guidance acts from this t on; above 0, what is made of pure noise is what the prompt alone says."""
    guidance_until: float = 1.0
    """Guidance acts until this t; later steps, nearer to the clean video, need half the predictions."""
    shift: float = 1.0
    """Above 1, more of the steps near the noise."""
    spread: float = 1.0
    """Above 1, more of the steps near both ends."""
    height: int = 256
    width: int = 256
    num_frames: int = 32
    fps: int = 16

    def __post_init__(self) -> None:
        if self.process not in SAMPLER_NAMES:
            raise UsageError(f"process {self.process} is not known: use {' or '.join(SAMPLER_NAMES)}")
        if self.sampler not in SAMPLER_NAMES[self.process]:
            known = " or ".join(SAMPLER_NAMES[self.process])
            raise UsageError(f"sampler {self.sampler} can't sample process {self.process}: use {known}")
        counts = ("steps", "height", "width", "num_frames", "fps")
        for name in counts:
            if not isinstance(getattr(self, name), int):
                raise UsageError(f"{name} must be a whole number, not {getattr(self, name)!r}")
        for name in (*counts, "shift", "spread"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("guidance_from", "guidance_until"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        if self.guidance_from >= self.guidance_until:
            raise UsageError(f"guidance from {self.guidance_from} to {self.guidance_until} is none: use guidance 1")
        if not 0 <= self.guidance < math.inf:
            raise UsageError(f"guidance must be 0 or more, not {self.guidance}")

    def window(self, token_frames: int) -> int:
        """Latent frames that the transformer was trained to see at once."""
        return max(1, self.num_frames // token_frames)

    def with_overrides(self, **overrides: Any) -> "GenerationConfig":
        """With every override that is not None; SoraditError for one that can't be."""
        known = [field.name for field in fields(self)]
        for name in overrides:
            if name not in known:
                raise SoraditError(f"{name} is no setting: use {', '.join(known)}")
        try:
            return replace(self, **{name: value for name, value in overrides.items() if value is not None})
        except TypeError as error:  # from a file's metadata anything may come
            raise SoraditError(f"these settings can't be used: {first_line(error)}") from error


MAX_SEED = 2**63 - 1


def check_prompt(text: str) -> None:
    """Raises UsageError for bytes that are not UTF-8, as Python keeps them."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"the prompt {text[:80]!r} is not UTF-8")


def check_seed(seed: int) -> None:
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"seed {seed} is not from 0 to 2^63 - 1")


def held_latents(before: int, token_frames: int, window: int) -> int:
    """Latent frames that are held of the ``before`` frames that a video begins with.

    Half a window sees what was, and denoises what comes.
    """
    return max(1, min(before // token_frames, window // 2))


def frames_after(before: int, token_frames: int, window: int) -> int:
    """How many frames one window adds to the ``before`` frames that a video goes on from."""
    return (window - held_latents(before, token_frames, window)) * token_frames


def continued_grid(
    settings: GenerationConfig, token_size: tuple[int, int, int], *, window: int, before: int
) -> tuple[int, int, int]:
    """Latent frames, height and width to denoise for a video that goes on from ``before`` frames, the held included.

    Raises SoraditError when what is added is not a whole number of tokens.
    """
    unit, new = token_size[0], settings.num_frames - before
    goes_on = f"the {before} that it goes on from"
    if new <= 0:
        raise SoraditError(f"frames {settings.num_frames} are no more than {goes_on}: use {before + unit} or more")
    if new % unit:
        nearest = before + max(unit, round(new / unit) * unit)
        raise SoraditError(
            f"frames {settings.num_frames} are {new} more than {goes_on}, not a multiple of {unit} more: use {nearest}"
        )
    denoised = held_latents(before, unit, window) * unit + new
    return latent_grid(replace(settings, num_frames=denoised), token_size, window=window)


def latent_grid(
    settings: GenerationConfig, token_size: tuple[int, int, int], *, window: int | None = None
) -> tuple[int, int, int]:
    """Latent frames, height and width of a video; raises SoraditError when it is not a whole number of tokens.

    ``window`` is how many latent frames the transformer sees at once; None is all of them.
    """
    extent = {"frames": settings.num_frames, "height": settings.height, "width": settings.width}
    for (name, length), unit in zip(extent.items(), token_size, strict=True):
        if length % unit:
            nearest = max(unit, round(length / unit) * unit)
            raise UsageError(f"{name} {length} is not a multiple of {unit}: use {nearest}")
    t, h, w = (length // unit for length, unit in zip(extent.values(), token_size, strict=True))
    if (tokens := min(t, window or t) * h * w) > MAX_TOKENS:
        size = f"{settings.width}x{settings.height}, {min(t, window or t) * token_size[0]} frames"
        raise UsageError(f"{size} are {tokens} tokens, {MAX_TOKENS} are the most: use a smaller or shorter video")
    return t, h, w


def settings_of(folder: Path, **overrides: float | None) -> GenerationConfig:
    """The weights' own settings with every override that is not None; UsageError for a size that does not fit them."""
    settings = load_generation_config(folder).with_overrides(**overrides)
    latent_grid(settings, load_autoencoder_config(folder).token_size)
    return settings


def load_generation_config(folder: Path) -> GenerationConfig:
    return read_config(GenerationConfig, folder / "scheduler" / "scheduler_config.json")


def load_autoencoder_config(folder: Path) -> AutoencoderConfig:
    return read_config(AutoencoderConfig, folder / "vae" / "config.json")


def read_config(config_class: Any, path: Path) -> Any:
    """Build a config from JSON: unknown keys and wrong kinds are named, classes never come from the file."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SoraditError(f"{path} is missing: the weights are incomplete, copy them again") from error
    except (ValueError, OSError) as error:
        raise SoraditError(f"{path} is damaged ({error}): copy the weights again") from error
    known = {field.name for field in dataclasses.fields(config_class)}
    try:
        given = {name: _frozen(value) for name, value in fields.items() if not name.startswith("_")}
        if unknown := sorted(set(given) - known):
            raise ValueError(f"unknown {', '.join(unknown)}")
        return config_class(**given)
    except (TypeError, ValueError, AttributeError, ArithmeticError, SoraditError) as error:
        raise SoraditError(f"{path} can't be used: {first_line(error)}") from error


def _frozen(value: Any) -> Any:
    """JSON's lists as the tuples that configs hold."""
    return tuple(value) if isinstance(value, list) else value
