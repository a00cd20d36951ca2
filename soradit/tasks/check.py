"""``soradit check``: what each file of a folder is, and what training takes of it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from unicodedata import east_asian_width

from soradit.errors import SoraditError
from soradit.files import check_output_path, write_whole
from soradit.media.clips import Survey, split_clips, survey_clips
from soradit.media.inspection import Inspection
from soradit.media.metadata import Problem
from soradit.media.reading import STILLS_REMEDY, Reading, look_at
from soradit.media.workers import read_ahead
from soradit.model.config import GenerationConfig, load_generation_config
from soradit.model.folder import find_weights
from soradit.report import Progress, Report
from soradit.sheet import Card, render_sheet
from soradit.tasks.checked import Checked
from soradit.text import count
from soradit.training.contents import content_hash
from soradit.training.reading import training_reading

MIN_CAPTION_LETTERS = 3


def check(
    folder: Path,
    *,
    weights: str | None,
    overrides: dict[str, int | None],
    max_bad: float,
    buckets: bool = False,
    keep_damaged: bool = False,
    split: bool = True,
    sheet: Path | None = None,
    overwrite: bool = False,
    report: Report | None = None,
) -> Iterator[Checked]:
    """Yield a row a file, then tell the report what they add up to, and write ``sheet``, a page of thumbnails.

    ``overrides`` are the height, width, num_frames and fps to train at, where they are not the weights' own; with
    ``buckets`` and ``keep_damaged``, as ``encode`` takes them. With ``split``, some of the clips are to be held out.

    Raises SoraditError before the first row for what can't be asked; after the last one when nothing survives, more
    than ``max_bad`` (a share) of the files can't be used for another reason than their length, or ``soradit train``
    would refuse the folder.
    """
    report = report or Report()
    if sheet is not None:
        check_output_path(sheet, overwrite=overwrite, suffixes=(".html",))
    source = find_weights(weights)
    config = load_generation_config(source).with_overrides(**overrides)
    reading = training_reading(source, config, buckets=buckets, keep_damaged=keep_damaged)
    survey = survey_clips(folder)
    if not survey.clips:
        raise SoraditError(survey.problems[0].message)
    rows: list[Checked] = []
    with report.progress("checking", len(survey.clips)) as progress:
        for row in _check_clips(folder, survey, config, reading, progress, thumbnails=sheet is not None):
            rows.append(row)
            yield row
            progress.update(len(rows), row.name)
    for line in _summary(rows, survey, config):
        report.note(line)
    if sheet is not None:
        _write_sheet(sheet, str(folder), _totals(rows), [_card(row) for row in rows])
        report.note(f"thumbnails are in {sheet}")
    _require_good(rows, survey, config, max_bad=max_bad)
    if split:
        _require_training_clip(rows, config)


def _check_clips(
    folder: Path, survey: Survey, config: GenerationConfig, reading: Reading, progress: Progress, *, thumbnails: bool
) -> Iterator[Checked]:
    """A row a clip, read in processes of their own."""
    refusals = {problem.path: problem.message for problem in reversed(survey.problems)}
    done = 0
    looks = read_ahead(
        partial(look_at, thumbnails=thumbnails),
        ((clip.path, reading) for clip in survey.clips),
        while_waiting=lambda: progress.update(done),
    )
    for findings, clip in zip(looks, survey.clips, strict=True):
        refusal = refusals.get(clip.path) or refusals.get(clip.path.with_suffix(".txt"))
        row = Checked(name=clip.path.relative_to(folder).as_posix(), clip=clip, reading=reading)
        yield check_clip(row, findings, window_frames=config.num_frames, refusal=refusal)
        done += 1


def check_clip(
    row: Checked, findings: Iterator[Inspection | list[bytes]], *, window_frames: int, refusal: str | None = None
) -> Checked:
    """The row with what ``look_at`` finds; ``refusal`` is why training would refuse it, however readable it is."""
    path, reading = row.clip.path, row.reading
    try:
        row = replace(row, content=content_hash(path))
        for found in findings:
            row = replace(row, pictures=found) if isinstance(found, list) else replace(row, inspection=found)
    except SoraditError as error:
        return replace(row, reason=str(error).removeprefix(f"{path}: "))
    assert row.inspection is not None
    if row.inspection.damage and not reading.keep_damaged:
        return replace(row, reason=row.inspection.damage)
    num_frames = row.inspection.num_frames_at(reading.fps)
    windows = tuple(reading.drawn_from(num_frames, window_frames))
    if refusal:
        return replace(row, reason=refusal.removeprefix(f"{path}: "))
    if not windows:
        remedy = f": {STILLS_REMEDY}" if row.inspection.num_frames == 1 else ""
        return replace(row, reason=_too_short(num_frames, reading, window_frames) + remedy, is_short=True)
    trimmed_frames = max(0, num_frames - sum(windows))
    return replace(row, windows=windows, trimmed_seconds=trimmed_frames / reading.fps)


def _too_short(num_frames: int, reading: Reading, window_frames: int) -> str:
    if num_frames >= window_frames:
        return f"is cut into pieces of {reading.max_segment_frames} frames, and {window_frames} are needed"
    least = reading.token_size[0] if reading.buckets else window_frames
    return f"has {count(num_frames, 'frame')} at {reading.fps} fps, and {least} are needed"


def _totals(rows: list[Checked]) -> str:
    by_verdict = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ("used", "trimmed", "dropped")}
    return f"{count(len(rows), 'file')} seen = " + " + ".join(f"{n} {verdict}" for verdict, n in by_verdict.items())


def _summary(rows: list[Checked], survey: Survey, config: GenerationConfig) -> Iterator[str]:
    windows = [length for row in rows for length in row.windows]
    yield _totals(rows)
    yield (
        f"to train on, at {config.width}x{config.height}, {config.fps} fps and {config.num_frames} frames: "
        f"{count(len(windows), 'window')}, {sum(windows) / config.fps:.1f} s"
    )
    if any(row.clip.captions for row in rows):  # else the last line says it for all
        yield from (f"clip without a caption: {row.name}" for row in rows if not row.clip.captions)
    yield from (f"caption without a clip: {path}" for path in survey.stray_texts)
    for row in rows:
        for caption in row.clip.captions:
            if _letters(caption) < MIN_CAPTION_LETTERS:
                yield f'near-empty caption: {row.name}: "{caption}"'
    first: dict[str, str] = {}
    for row in rows:
        if row.content and first.setdefault(row.content, row.name) != row.name:
            yield f"double: {row.name} holds the same as {first[row.content]}"
    yield from survey.remarks
    yield from (f"train refuses: {problem.message}" for problem in _of_no_clip(survey))


def _of_no_clip(survey: Survey) -> list[Problem]:
    """What no clip's row tells: faults of a metadata file, of a text, of the folder."""
    clips = {clip.path for clip in survey.clips}
    return [problem for problem in survey.problems if problem.path not in clips]


def _letters(caption: str) -> int:
    """How many there are; wide ones (空, 雨, 밤) are a word each."""
    return sum(MIN_CAPTION_LETTERS if east_asian_width(each) == "W" else 1 for each in caption if each.isalpha())


def _require_good(rows: list[Checked], survey: Survey, config: GenerationConfig, *, max_bad: float) -> None:
    """Raise SoraditError where training could not start, or would start with too little."""
    num_bad = sum(row.is_bad for row in rows)
    is_empty = not any(row.windows for row in rows)
    of_no_clip = _of_no_clip(survey)  # a faulty metadata file: all may be without a caption because of it
    if is_empty and not of_no_clip:
        raise SoraditError(f"nothing is left to train on{_what_all_lack(rows, config)}")
    if problems := [*of_no_clip, *survey.problems]:
        raise SoraditError(f"train refuses this folder; the first reason: {problems[0].message}")
    if num_bad > max_bad * len(rows):
        raise SoraditError(f"{num_bad} of {len(rows)} files are bad, more than {max_bad:.0%} (--max-bad)")


def _require_training_clip(rows: list[Checked], config: GenerationConfig) -> None:
    """Raise SoraditError where all that can be used is held out."""
    training, _ = split_clips([row.clip for row in rows])
    if not any(row.windows for row in rows if row.clip in training):
        raise SoraditError(f"no training clip has {config.num_frames} frames: use fewer --frames, or add clips")


def _what_all_lack(rows: list[Checked], config: GenerationConfig) -> str:
    if not any(row.clip.captions for row in rows):
        return ": no clip has a caption; write clip.txt beside clip.mp4, or a metadata.jsonl"
    if all(row.inspection and row.inspection.num_frames == 1 for row in rows):
        return f": {STILLS_REMEDY}"
    if all(row.is_short for row in rows):
        return f": no clip has {config.num_frames} frames at {config.fps} fps; use fewer --frames, or longer clips"
    lacks = {
        "without a caption": sum(not row.clip.captions for row in rows),
        f"of less than {config.num_frames} frames at {config.fps} fps": sum(row.is_short for row in rows),
        "damaged or no video": sum(row.is_bad and bool(row.clip.captions) for row in rows),
    }
    return f": of {len(rows)} files " + ", ".join(f"{number} {what}" for what, number in lacks.items() if number)


def _write_sheet(sheet: Path, title: str, totals: str, cards: list[Card]) -> None:
    try:
        write_whole(sheet, render_sheet(title, totals, cards))
    except OSError as error:
        raise SoraditError(f"can't write {sheet}: {error.strerror}") from error


def _card(row: Checked) -> Card:
    caption = " / ".join(row.clip.captions)
    return Card(name=row.name, caption=caption, verdict=row.verdict, text=row.use, pictures=row.pictures)
