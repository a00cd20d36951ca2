"""What goes into the pipeline, and what comes out."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

import soradit
from soradit.errors import UsageError
from soradit.media.writing import write_video
from soradit.model.config import GenerationConfig, check_prompt, check_seed


@dataclass(frozen=True, kw_only=True)
class Request:
    """One video to make."""

    prompt: str
    negative: str = ""
    """What it should not show."""
    seed: int = 0
    """Decides its noise: the same seed gives the same video."""
    settings: GenerationConfig | None = None
    """None: the weights' own."""
    start: UInt8[np.ndarray, "T H W 3"] | None = None
    """What it begins with, in its own size: an image (T = 1), or the frames of a video to go on from, which count
    among its ``num_frames``."""

    def __post_init__(self) -> None:
        for name, kind in (("prompt", str), ("negative", str), ("seed", int)):
            if not isinstance(getattr(self, name), kind):
                raise UsageError(f"{name} must be of type {kind.__name__}, not {getattr(self, name)!r}")
        if not isinstance(self.settings, GenerationConfig | None):
            raise UsageError(f"settings must be made by with_overrides, not {self.settings!r}")
        if self.start is not None:
            start = np.asarray(self.start)
            if start.ndim != 4 or not len(start) or start.dtype != np.uint8:
                raise UsageError("start must be frames, uint8 of shape (T, H, W, 3)")
        check_seed(self.seed)
        check_prompt(self.prompt)
        check_prompt(self.negative)


@dataclass(frozen=True, kw_only=True)
class Video:
    """Frames, uint8 RGB (T, H, W, 3), how many of them are shown a second, and how they were made."""

    frames: UInt8[np.ndarray, "T H W 3"]
    request: Request
    settings: GenerationConfig
    weights: str
    """Their hash."""
    precision: str = "float32"

    @property
    def fps(self) -> float:
        return self.settings.fps

    def about(self) -> dict[str, Any]:
        """All that decided its pixels, but for the machine."""
        request = self.request
        start = {} if request.start is None else {"start": start_hash(request.start)}
        what = {"prompt": request.prompt, "negative": request.negative, "seed": request.seed}
        made = {"soradit": soradit.__version__, "weights": self.weights, "precision": self.precision}
        return {**made, **what, **asdict(self.settings), **start}

    def save(self, path: str | Path, *, overwrite: bool = False, metadata: bool = True) -> None:
        """Write an MP4, GIF, WebP, or a folder of frames (.png), whole or not at all; SoraditError when it can't be.

        Its comment is, as JSON, all that ``soradit replay`` needs, and the title of an MP4 is its prompt; none of it
        without ``metadata``.
        """
        tags = {"title": self.request.prompt, "comment": json.dumps(self.about())}
        write_video(Path(path), self.frames, fps=self.fps, overwrite=overwrite, metadata=tags if metadata else None)


def start_hash(start: UInt8[np.ndarray, "T H W 3"]) -> str:
    """Sixteen digits that tell what a video begins with."""
    return hashlib.sha256(start.tobytes()).hexdigest()[:16]
