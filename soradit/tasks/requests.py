"""A job -> what the pipeline is asked for, and what a person would want to know of it first."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from soradit.errors import SoraditError
from soradit.files import check_fps
from soradit.model.config import GenerationConfig, latent_grid
from soradit.tasks.jobs import Job

if TYPE_CHECKING:
    import numpy as np

    from soradit.pipeline import Pipeline
    from soradit.video import Request

FEW_STEPS = 0.5
"""Below this share of the weights' own steps, a word of warning."""


def require_fitting(job: Job, own: GenerationConfig, token_size: tuple[int, int, int]) -> None:
    """Raises SoraditError for what doesn't fit the weights, going by their ``own`` settings; needs no torch."""
    settings = own.with_overrides(**job.overrides)
    check_fps(job.output, settings.fps)
    for start in filter(None, (job.image, job.continued)):
        if not start.is_file():
            why = "is a folder; give a file" if start.is_dir() else "is no file" if start.exists() else "no such file"
            raise SoraditError(f"{start}: {why}")
    if job.continued is None:  # else length and size are the video's
        latent_grid(settings, token_size, window=own.window(token_size[0]))


def request_of(job: Job, pipeline: "Pipeline", *, expected_start: str | None = None) -> "Request":
    """A job as the pipeline takes it. Raises SoraditError for settings that don't fit the weights or one another."""
    from soradit.media.video import read_image
    from soradit.video import Request, start_hash

    overrides, start = job.overrides, None
    if job.image is not None:
        settings = pipeline.with_overrides(**overrides)
        start = read_image(job.image, size=(settings.height, settings.width))[None]
    elif job.continued is not None:
        overrides, start = _read_beginning(job.continued, overrides, pipeline)
    request = Request(
        prompt=job.prompt,
        negative=job.negative,
        seed=job.seed,
        settings=pipeline.with_overrides(**overrides),
        start=start,
    )
    pipeline.grid(request)
    if expected_start is not None and (start is None or start_hash(start) != expected_start):
        raise SoraditError(
            "it began with another image or video: name that with --image or --continue, or give --force"
        )
    return request


def _read_beginning(path: Path, given: Mapping[str, Any], pipeline: "Pipeline") -> "tuple[dict[str, Any], np.ndarray]":
    """A video to go on from, in the size, rate and length that follow from it where the job sets no others."""
    from soradit.media.video import probe_video, read_video

    info = probe_video(path)
    overrides = dict(given)
    unit_frames, unit_height, unit_width = pipeline.autoencoder.config.token_size
    for name, value in (
        ("height", info.height // unit_height * unit_height or unit_height),
        ("width", info.width // unit_width * unit_width or unit_width),
        ("fps", max(1, round(info.fps))),
    ):
        if overrides.get(name) is None:
            overrides[name] = value
    settings = pipeline.with_overrides(**overrides)
    start, _ = read_video(path, fps=settings.fps, size=(settings.height, settings.width))
    if len(start) < unit_frames:
        raise SoraditError(f"{path} has {len(start)} frames: too few to go on from; give one of them as --image")
    if overrides.get("num_frames") is None:
        overrides["num_frames"] = len(start) + pipeline.frames_after(start)
    return overrides, start


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
    own, settings = pipeline.defaults, request.settings or pipeline.defaults
    if settings.steps < FEW_STEPS * own.steps:
        few = "1 step is" if settings.steps == 1 else f"{settings.steps} steps are"
        yield f"{few} few: these weights use {own.steps}, and with fewer their pictures blur"
    if request.negative and settings.guidance == 1:
        yield "the negative prompt is not used: without guidance (1) there is nothing to guide away from"
