"""``soradit replay``: a video once more, from what it says of itself."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import soradit
from soradit.errors import SoraditError, UsageError
from soradit.files import is_video_name
from soradit.model.config import GenerationConfig
from soradit.report import Report
from soradit.tasks.generate import GenerateConfig, Made, generate
from soradit.tasks.jobs import Job


def replay(
    video: Path,
    *,
    output: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    force: bool = False,
    config: GenerateConfig,
    report: Report | None = None,
) -> Made:
    """Generate the video again, byte for byte on the same machine, or with ``changes`` (those that are not None).

    Raises SoraditError for a file that doesn't say how it was made, and, unless ``force``, for weights or a beginning
    that are not those it was made with.
    """
    from soradit.media.tags import read_about  # with the decoders, which take a while to import

    report = report or Report()
    if output is None:
        output = Path(f"{video.stem}-replay{video.suffix if is_video_name(video) else '.mp4'}")
    about = read_about(video)
    version, weights, start = about.pop("soradit"), about.pop("weights"), about.pop("start", None)
    precision = about.pop("precision", None)
    about.setdefault("spread", 1.0)  # what there was before there was a choice
    if version != soradit.__version__:
        report.note(f"{video} was made by soradit {version}, this is {soradit.__version__}: it may differ a little")
    _require_settings(video, about)
    order = {**about, **{name: value for name, value in (changes or {}).items() if value is not None}}
    job = Job(
        prompt=order.pop("prompt"),
        negative=order.pop("negative"),
        seed=order.pop("seed"),
        output=output,
        image=order.pop("image", None),
        continued=order.pop("continued", None),
        overrides=order,
    )
    if start is not None and job.image is None and job.continued is None:
        raise SoraditError(f"{video} began with an image or a video: give it with --image or --continue")
    if not force:
        # What it began with is known by its frames, which are in the video's size and rate.
        is_as_before = all(order.get(name) == about.get(name) for name in ("height", "width", "fps"))
        config = replace(config, expected_weights=weights, expected_start=start if is_as_before else None)
    if config.precision == "auto":
        # In float32 it is made again on any machine; what is fast on one may be far too slow on another.
        own = "float32" if precision == "float32" else "auto"
        config = replace(config, precision=own, expected_precision=precision)
    (made,) = generate([job], config, report)
    return made


def _require_settings(video: Path, about: Mapping[str, Any]) -> None:
    """Raises SoraditError where a file says what can't be: that is its fault, not the command line's."""
    settings = {name: value for name, value in about.items() if name not in ("prompt", "negative", "seed")}
    try:
        GenerationConfig().with_overrides(**settings)
    except UsageError as error:
        raise SoraditError(f"what {video} says of itself can't be used: {error}") from error
