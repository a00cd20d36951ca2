"""Which clips are intact: training leaves the others out, and refuses a folder with too many of them."""

from collections.abc import Sequence
from pathlib import Path

from soradit.errors import SoraditError
from soradit.media.clips import Clip
from soradit.media.decoding import Unreadable
from soradit.media.inspection import inspecting
from soradit.media.workers import read_ahead
from soradit.report import Report

MAX_BAD_SHARE = 0.1


def require_few_bad(bad: Sequence[object], num_clips: int, max_bad: float = MAX_BAD_SHARE) -> None:
    """Raises SoraditError when ``bad``, a reason a clip, are more than that share."""
    if len(bad) > max_bad * num_clips:
        limit = f"more than {max_bad:.0%} are too many: take them out, soradit check lists them"
        raise SoraditError(f"{len(bad)} of {num_clips} clips can't be used; the first: {bad[0]}; {limit}")


def intact_clips(clips: list[Clip], report: Report) -> dict[Path, float]:
    """The clips' files that decode to their end, with their seconds; the others are named in the report.

    A clip and its mirror image are one file. Raises SoraditError when more than a tenth of the files don't.
    """
    paths = list(dict.fromkeys(clip.path for clip in clips))
    intact: dict[Path, float] = {}
    bad: list[SoraditError] = []
    with report.progress("looking at clips", len(paths)) as progress:
        done = 0
        looks = read_ahead(inspecting, ((path,) for path in paths), while_waiting=lambda: progress.update(done))
        for path, findings in zip(paths, looks, strict=True):
            try:
                *_, found = findings
                if found.damage:
                    raise Unreadable(f"{path}: {found.damage}")
                intact[path] = found.seconds
            except SoraditError as error:
                bad.append(error)
            done += 1
            progress.update(done)
    for reason in bad:
        report.note(f"left out: {reason}")
    require_few_bad(bad, len(paths))
    return intact
