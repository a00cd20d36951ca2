"""A job -> its settings and what its video begins with; what a person would want to know of it first."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from soradit.errors import SoraditError
from soradit.files import FIRST_FRAME, check_fps, require_file
from soradit.model.config import GenerationConfig, check_seed, continued_grid, frames_after, latent_grid
from soradit.tasks.jobs import Job

if TYPE_CHECKING:
    import numpy as np

    from soradit.pipeline import Pipeline
    from soradit.video import Request

FEW_STEPS = 0.5
"""Below this share of the weights' own steps, a word of warning."""


def settings_and_start(
    job: Job, own: GenerationConfig, token_size: tuple[int, int, int], *, expected_start: str | None = None
) -> "tuple[GenerationConfig, np.ndarray | None]":
    """A job's settings, and the frames that its video begins with, if any; needs no torch.

    Raises SoraditError for what can't be read, or doesn't fit the weights going by their ``own`` settings.
    """
    check_seed(job.seed)
    settings, start, window = own.with_overrides(**job.overrides), None, own.window(token_size[0])
    if job.continued is not None:
        settings, start = _go_on(job, settings, token_size, window=window)
    else:
        latent_grid(settings, token_size, window=window)
    check_fps(job.output, settings.fps)
    _require_memory(settings)
    if job.image is not None:
        start = _first_frame(job.image, settings)
    if expected_start is not None:
        from soradit.video import start_hash

        if start is None or start_hash(start) != expected_start:
            raise SoraditError(
                "it began with another image or video: name that with --image or --continue, or give --force"
            )
    return settings, start


def _require_memory(settings: GenerationConfig, *, about: str = "", remedy: str = "use fewer --frames") -> None:
    """Raises SoraditError where not even the frames could be held."""
    import psutil

    needed = settings.num_frames * settings.height * settings.width * 3
    if needed > (free := psutil.virtual_memory().available):
        frames = f"{settings.num_frames} frames of {settings.width}x{settings.height} take {needed / 1e9:.0f} GB"
        raise SoraditError(f"{about}{frames} of memory, {free / 1e9:.0f} are free: {remedy}")


def _first_frame(path: Path, settings: GenerationConfig) -> "np.ndarray":
    if path.is_dir():
        raise SoraditError(f"{path}: is a folder; give a file")
    require_file(path)
    from soradit.media.video import read_image

    return read_image(path, size=(settings.height, settings.width))[None]


def _go_on(
    job: Job, settings: GenerationConfig, token_size: tuple[int, int, int], *, window: int
) -> "tuple[GenerationConfig, np.ndarray]":
    """A video to go on from, in the size, rate and length that follow from it where the job sets no others."""
    path, given, (unit_frames, unit_height, unit_width) = job.continued, job.overrides, token_size
    assert path is not None
    is_folder = path.is_dir()
    if is_folder and not (path / FIRST_FRAME).is_file():
        raise SoraditError(f"{path}: is a folder without {FIRST_FRAME}; give a video, or a folder of frames")
    first = path / FIRST_FRAME if is_folder else path
    require_file(first)
    from soradit.media.video import probe_video, read_folder, read_video

    info = probe_video(first)
    its_own = {
        "height": info.height // unit_height * unit_height or unit_height,
        "width": info.width // unit_width * unit_width or unit_width,
        "fps": _rate_of_folder(path) if is_folder else max(1, round(info.fps)),
    }
    settings = settings.with_overrides(**{name: given.get(name) or value for name, value in its_own.items()})
    latent_grid(replace(settings, num_frames=unit_frames * window), token_size)
    if info.duration_seconds is not None:  # of a folder's first frame, none
        whole = replace(settings, num_frames=max(1, round(info.duration_seconds * settings.fps)))
        _require_memory(whole, about=f"{path}: ", remedy="go on from its last seconds alone")
    size = (settings.height, settings.width)
    start = read_folder(path, size=size) if is_folder else read_video(path, fps=settings.fps, size=size)[0]
    if len(start) < unit_frames:
        raise SoraditError(f"{path} has {len(start)} frames: too few to go on from; give one of them as --image")
    if given.get("num_frames") is None:
        settings = replace(settings, num_frames=len(start) + frames_after(len(start), unit_frames, window))
    continued_grid(settings, token_size, window=window, before=len(start))
    return settings, start


def _rate_of_folder(path: Path) -> int | None:
    """Frames a second, where soradit made it and says so."""
    from soradit.media.tags import read_about

    with suppress(SoraditError):
        rate = read_about(path).get("fps")
        return rate if isinstance(rate, int) else None
    return None


def advice_on(request: "Request", pipeline: "Pipeline") -> Iterator[str]:
    """What a person would want to know before the wait."""
    if not request.prompt.strip():
        yield "the prompt is empty: what the video shows is up to the weights"
    max_tokens = pipeline.text_encoder.max_tokens
    for what, text in (("the prompt", request.prompt), ("the negative prompt", request.negative)):
        if text and (num_tokens := pipeline.text_encoder.count_tokens(text)) > max_tokens:
            yield f"{what} has {num_tokens} tokens: all after the first {max_tokens} are not used"
    if pipeline.is_far(request.prompt):
        prompt = shorten(request.prompt, 60, placeholder=" ...")
        yield f"{prompt!r} is far from what these weights learnt: expect what they know instead"
    own, settings = pipeline.defaults, pipeline.settings_of(request)
    if settings.steps < FEW_STEPS * own.steps:
        few = "1 step is" if settings.steps == 1 else f"{settings.steps} steps are"
        yield f"{few} few: these weights use {own.steps}, and with fewer their pictures blur"
    if request.negative and settings.guidance == 1:
        yield "the negative prompt is not used: without guidance (1) there is nothing to guide away from"
