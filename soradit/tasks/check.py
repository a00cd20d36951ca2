"""``soradit check``: what each file of a folder is, and what training takes of it."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from soradit.errors import SoraditError
from soradit.files import write_whole
from soradit.media.clips import TOKEN_FRAMES, Clip, Survey, segments, split_clips, survey_clips
from soradit.media.inspection import Colour, Inspection, inspect_video
from soradit.media.video import iterate_frames, read_video
from soradit.media.writing import encode_jpeg
from soradit.model.weights import (
    GenerationConfig,
    find_weights,
    latent_grid,
    load_autoencoder,
    load_generation_config,
)
from soradit.report import Report
from soradit.sheet import Card, render_sheet
from soradit.tasks.encode import SEGMENT_FRAMES
from soradit.training.cache import content_hash

MIN_CAPTION_LETTERS = 3
THUMBNAIL_PIXELS = 192
"""The longer side of a picture on the sheet."""

_COLUMNS = "  {:<12} {:<6} {:<8} {:<7} {:<13} {:<6} {}"
HEADER = (
    "verdict  file: what training takes of it, or why nothing",
    _COLUMNS.format("picture", "frames", "fps", "seconds", "format", "caption", "colour"),
)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A file, what it is, and what training takes of it."""

    name: str
    """Below the folder that was checked."""
    clip: Clip
    content: str | None = None
    """The SHA-256 of its bytes, shortened: equal for equal files. None when the file can't be opened."""
    inspection: Inspection | None = None
    """None when nothing in it can be read."""
    windows: tuple[int, ...] = ()
    """Frames of each piece that training draws from, at its fps."""
    trimmed_seconds: float = 0.0
    reason: str | None = None
    """Why the file is dropped; None when it is not."""
    config: GenerationConfig = field(repr=False)
    """What it is read for."""

    @property
    def verdict(self) -> str:
        return "dropped" if self.reason else "trimmed" if self.trimmed_seconds else "used"

    @property
    def kept_share(self) -> float:
        """Of the picture's area, after the crop to training's shape."""
        if self.inspection is None:
            return 0.0
        info = self.inspection.info
        across, down = self.config.width * info.height, self.config.height * info.width
        return min(across, down) / max(across, down)

    @property
    def scale(self) -> float:
        """How many times as wide the picture becomes; above 1 it is enlarged, and gains no detail."""
        if self.inspection is None:
            return 1.0
        info = self.inspection.info
        return max(self.config.width / info.width, self.config.height / info.height)

    @property
    def use(self) -> str:
        """What training takes, or why it takes nothing, in words."""
        if self.reason:
            return self.reason
        lengths = "+".join(map(str, self.windows))
        parts = [f"{_count(len(self.windows), 'window')} of {lengths} frames", f"{self.kept_share:.0%} of the picture"]
        if self.scale >= 1.5:
            parts.append(f"enlarged {self.scale:.2g} times")
        if self.trimmed_seconds:
            parts.append(f"{self.trimmed_seconds:.2f} s trimmed")
        return ", ".join(parts)

    def to_lines(self) -> tuple[str, str]:
        """A row for people, in two lines; names may hold characters that a terminal would obey."""
        return f"{self.verdict:<7}  {self.name}: {self.use}", self._facts()

    def _facts(self) -> str:
        caption = self.clip.caption_place or "none"
        if self.inspection is None:
            return _COLUMNS.format("-", "-", "-", "-", "-", caption, "-")
        found, info = self.inspection, self.inspection.info
        header_differs = info.num_frames_header not in (None, found.num_frames)
        return _COLUMNS.format(
            f"{info.width}x{info.height}" + (f"@{info.rotation_degrees}" if info.rotation_degrees else ""),
            f"{found.num_frames}/{info.num_frames_header}" if header_differs else found.num_frames,
            "variable" if found.fps is None else f"{found.fps:.4g}",
            f"{found.seconds:.2f}",
            f"{_container(self.clip.path, info.container)} {info.codec}",
            caption,
            _in_words(found.colour) + (" interlaced" if found.is_interlaced else ""),
        )

    def to_json(self) -> str:
        facts: dict[str, Any] = {}
        if self.inspection is not None:
            found = asdict(self.inspection)
            facts = {**found.pop("info"), **found, "fps": self.inspection.fps}
            facts["colour"]["hdr"] = self.inspection.colour.is_hdr
        return json.dumps(
            {
                "file": self.name,
                "path": str(self.clip.path),
                "verdict": self.verdict,
                "reason": self.reason,
                "windows": self.windows,
                "kept_share": round(self.kept_share, 4),
                "scale": round(self.scale, 4),
                "trimmed_seconds": round(self.trimmed_seconds, 4),
                "captions": self.clip.captions,
                "caption_place": self.clip.caption_place or None,
                "content": self.content,
                **facts,
            }
        )


def check(
    folder: Path,
    *,
    weights: str | None,
    overrides: dict[str, int | None],
    max_bad: float,
    sheet: Path | None = None,
    overwrite: bool = False,
    report: Report | None = None,
) -> Iterator[Checked]:
    """Yield a row a file, then tell the report what they add up to, and write ``sheet``, a page of thumbnails.

    ``overrides`` are the height, width, num_frames and fps to train at, where they are not the weights' own.

    Raises SoraditError before the first row for what can't be asked; after the last one when nothing survives, more
    than ``max_bad`` (a share) of the files are dropped, or ``soradit train`` would refuse the folder.
    """
    report = report or Report()
    if sheet is not None:
        _require_writable(sheet, overwrite=overwrite)
    config = _training_config(weights, overrides)
    survey = survey_clips(folder)
    refusals = {problem.path: problem.message for problem in reversed(survey.problems)}
    rows: list[Checked] = []
    cards: list[Card] = []
    with report.progress("checking", len(survey.clips)) as progress:
        for done, clip in enumerate(survey.clips, 1):
            refusal = refusals.get(clip.path) or refusals.get(clip.path.with_suffix(".txt"))
            row = check_clip(clip, config, name=clip.path.relative_to(folder).as_posix(), refusal=refusal)
            rows.append(row)
            if sheet is not None:
                cards.append(_card(row))
            yield row
            progress.update(done, row.name)
    for line in _summary(rows, survey, config):
        report.note(line)
    if sheet is not None:
        _write_sheet(sheet, str(folder), _totals(rows), cards)
        report.note(f"thumbnails are in {sheet}")
    _require_good(rows, survey, config, max_bad=max_bad)


def check_clip(clip: Clip, config: GenerationConfig, *, name: str, refusal: str | None = None) -> Checked:
    """Read a clip as training will; ``refusal`` is why training would not, however readable it is."""
    row = Checked(name=name, clip=clip, config=config)
    try:
        row = replace(row, content=content_hash(clip.path))
        row = replace(row, inspection=inspect_video(clip.path))
        num_frames = _count_frames(clip.path, config)
    except SoraditError as error:
        return replace(row, reason=str(error).removeprefix(f"{clip.path}: "))
    except Exception as error:  # of strangers' files, libraries raise anything: it costs the one file
        return replace(row, reason=f"can't be read: {type(error).__name__}: {error}")
    windows = _windows(num_frames, config)
    if not windows:
        return replace(row, reason=_too_short(num_frames, config))
    if refusal:
        return replace(row, reason=refusal.removeprefix(f"{clip.path}: "))
    return replace(row, windows=windows, trimmed_seconds=(num_frames - sum(windows)) / config.fps)


def _training_config(weights: str | None, overrides: dict[str, int | None]) -> GenerationConfig:
    source = find_weights(weights)
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    config = replace(load_generation_config(source), **given)
    latent_grid(config, load_autoencoder(source).config.token_size)
    return config


def _count_frames(path: Path, config: GenerationConfig) -> int:
    """Frames that training gets, at its fps and size."""
    with closing(iterate_frames(path, fps=config.fps, size=(config.height, config.width))) as frames:
        return sum(1 for _ in frames)


def _windows(num_frames: int, config: GenerationConfig) -> tuple[int, ...]:
    """Frames of each piece that ``encode`` cuts and that is long enough to train on."""
    pieces = segments(num_frames, window_frames=TOKEN_FRAMES, max_segment_frames=SEGMENT_FRAMES)
    return tuple(len(piece) for piece in pieces if len(piece) >= config.num_frames)


def _too_short(num_frames: int, config: GenerationConfig) -> str:
    if num_frames >= config.num_frames:
        return f"is cut into pieces of {SEGMENT_FRAMES} frames, and {config.num_frames} are needed"
    return f"has {_count(num_frames, 'frame')} at {config.fps} fps, and {config.num_frames} are needed"


def _totals(rows: list[Checked]) -> str:
    count = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ("used", "trimmed", "dropped")}
    return f"{_count(len(rows), 'file')} seen = " + " + ".join(f"{n} {verdict}" for verdict, n in count.items())


def _summary(rows: list[Checked], survey: Survey, config: GenerationConfig) -> Iterator[str]:
    windows = [length for row in rows for length in row.windows]
    yield _totals(rows)
    yield (
        f"to train on, at {config.width}x{config.height}, {config.fps} fps and {config.num_frames} frames: "
        f"{_count(len(windows), 'window')}, {sum(windows) / config.fps:.1f} s"
    )
    yield from (f"clip without a caption: {row.name}" for row in rows if not row.clip.captions)
    yield from (f"caption without a clip: {path}" for path in survey.stray_texts)
    for row in rows:
        for caption in row.clip.captions:
            if sum(map(str.isalpha, caption)) < MIN_CAPTION_LETTERS:
                yield f'near-empty caption: {row.name}: "{caption}"'
    first: dict[str, str] = {}
    for row in rows:
        if row.content and first.setdefault(row.content, row.name) != row.name:
            yield f"double: {row.name} holds the same as {first[row.content]}"
    clips = {row.clip.path for row in rows}
    yield from (f"train refuses: {problem.message}" for problem in survey.problems if problem.path not in clips)


def _require_good(rows: list[Checked], survey: Survey, config: GenerationConfig, *, max_bad: float) -> None:
    """Raise SoraditError where training could not start, or would start with too little."""
    num_bad = sum(row.verdict == "dropped" for row in rows)
    if num_bad == len(rows):
        raise SoraditError("nothing is left to train on" if rows else survey.problems[0].message)
    if num_bad > max_bad * len(rows):
        raise SoraditError(f"{num_bad} of {len(rows)} files are bad, more than {max_bad:.0%} (--max-bad)")
    if survey.problems:
        raise SoraditError(f"train refuses this folder; the first reason: {survey.problems[0].message}")
    training, held_out = split_clips([row.clip for row in rows])
    usable = {row.clip for row in rows if row.windows}
    for what, part in (("training", training), ("held-out", held_out or training)):
        if not usable & set(part):
            raise SoraditError(f"no {what} clip has {config.num_frames} frames: use fewer --frames, or add clips")


def _require_writable(sheet: Path, *, overwrite: bool) -> None:
    if sheet.is_dir() or not sheet.parent.is_dir():
        raise SoraditError(f"can't write {sheet}: {'it' if sheet.is_dir() else 'its parent'} is not a file in a folder")
    if sheet.exists() and not overwrite:
        raise SoraditError(f"{sheet}: exists already; give --overwrite to replace it")


def _write_sheet(sheet: Path, title: str, totals: str, cards: list[Card]) -> None:
    try:
        write_whole(sheet, render_sheet(title, totals, cards))
    except OSError as error:
        raise SoraditError(f"can't write {sheet}: {error.strerror}") from error


def _card(row: Checked) -> Card:
    caption = " / ".join(row.clip.captions)
    return Card(name=row.name, caption=caption, verdict=row.verdict, text=row.use, pictures=_thumbnails(row))


def _thumbnails(row: Checked) -> list[bytes]:
    """The first frame and the middle one, cropped as for training; fewer when there are fewer, or no more readable."""
    if row.inspection is None:
        return []
    scale = min(1, THUMBNAIL_PIXELS / max(row.config.height, row.config.width))
    size = round(row.config.height * scale), round(row.config.width * scale)
    middle_seconds = [row.inspection.seconds / 2] if row.inspection.num_frames > 1 else []
    pictures = []
    for start_seconds in (0.0, *middle_seconds):
        try:
            frames, _ = read_video(row.clip.path, size=size, start_seconds=start_seconds, num_frames=1)
            pictures.append(encode_jpeg(frames[0]))
        except SoraditError:  # the row says so already
            break
    return pictures


def _in_words(colour: Colour) -> str:
    """``bt709 tv 8-bit``, ``HDR hlg bt2020 tv 10-bit``: transfer and primaries are named once where they are alike."""
    tags = dict.fromkeys(filter(None, (colour.transfer, colour.primaries, colour.range)))
    return " ".join([*(["HDR"] if colour.is_hdr else []), *(tags or ["untagged"]), f"{colour.bit_depth}-bit"])


def _container(path: Path, names: str) -> str:
    """The one of ffmpeg's names for a format ("mov,mp4,m4a,...") that the file goes by."""
    suffix = path.suffix.lower().removeprefix(".")
    return suffix if suffix in names.split(",") else names.partition(",")[0]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
