"""A folder of captioned clips: find them, pair them with captions, split them."""

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from soradit.errors import SoraditError

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg"),
    *(".m2v", ".vob", ".flv", ".f4v", ".wmv", ".asf", ".ogv", ".mxf", ".nut", ".ivf", ".dv", ".gif", ".apng", ".webp"),
)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Clips of one frame, where they have captions: others are somebody's thumbnails."""
METADATA_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video file and what it shows; one of several captions is as good as another."""

    path: Path
    captions: tuple[str, ...]  # at least one, once find_clips has accepted it
    caption_place: str = field(default="", compare=False)  # ".txt", "metadata.csv:2", or of several rows "...:2,5"
    mirrored: bool = False  # to be read as its mirror image, which the captions then tell of

    def __str__(self) -> str:
        return f"{self.path} (mirrored)" if self.mirrored else str(self.path)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A reason for which ``find_clips`` refuses a folder."""

    path: Path  # what it is about: the folder, a metadata file, a clip or its text
    message: str


@dataclass(frozen=True, kw_only=True)
class Survey:
    """All that a folder holds, right or wrong."""

    clips: list[Clip]  # sorted by name, also those without captions, and files named by metadata that are no videos
    problems: list[Problem]  # the first is the one that find_clips raises
    stray_texts: list[Path]  # .txt files without a clip beside them
    remarks: list[str]  # what is odd, and no reason to refuse


def find_clips(folder: Path, *, require_captions: bool = True) -> list[Clip]:
    """Find every video in ``folder`` and below, and every captioned image, sorted by name, with its captions.

    Captions come from ``metadata.jsonl``, ``metadata.csv`` or ``metadata.parquet`` in ``folder`` (``file_name`` and
    ``text``, the Hugging Face videofolder form; several rows for a file, or a list, are several captions), else from
    ``clip.txt`` beside ``clip.mp4``. Names that start with "." are ignored. Without ``require_captions`` a
    clip that has none gets an empty one.

    Raises SoraditError when there is no clip, a clip has no caption, a metadata file is malformed (named with
    its line), or a row names a file that is missing or outside ``folder``.
    """
    survey = survey_clips(folder, require_captions=require_captions)
    if survey.problems:
        raise SoraditError(survey.problems[0].message)
    return [clip if clip.captions else replace(clip, captions=("",)) for clip in survey.clips]


def require_folder(folder: Path) -> None:
    """Raises SoraditError when there is no such folder."""
    if not folder.is_dir():
        raise SoraditError(f"{folder}: {'is not a folder' if folder.exists() else 'no such folder'}")


def require_clips(folder: Path) -> None:
    """Raises SoraditError for a folder that isn't there, or without anything that may be a clip; looks at names alone.

    What ``find_clips`` refuses besides takes longer to find: it reads all captions.
    """
    require_folder(folder)
    has_metadata = any((folder / name).is_file() for name in METADATA_NAMES)
    if not has_metadata and next(_files(folder, VIDEO_SUFFIXES + IMAGE_SUFFIXES), None) is None:
        raise SoraditError(_no_clips(folder))


def survey_clips(folder: Path, *, require_captions: bool = True) -> Survey:
    """Look through ``folder`` as ``find_clips`` does, and go on where that stops.

    Raises SoraditError when there is no such folder.
    """
    require_folder(folder)
    problems: list[Problem] = []
    videos = _find_files(folder, VIDEO_SUFFIXES, problems)
    images = _find_files(folder, IMAGE_SUFFIXES, [])
    remarks: list[str] = []
    captions = _read_metadata(folder, {*videos, *images}, problems, remarks)
    taken = {video.with_suffix("") for video in videos}  # an image beside a video is its thumbnail, and not captioned
    videos += [path for path in images if path.with_suffix("") not in taken and path.with_suffix(".txt").is_file()]
    if not {*videos, *captions}:
        problems.append(Problem(path=folder, message=_no_clips(folder)))
    clips = []
    for path in sorted({*videos, *captions}, key=lambda path: path.relative_to(folder).as_posix()):
        texts, place = captions.get(path, ((), ""))
        if not texts:
            texts, place = _text_beside(path, problems), ".txt"
        clips.append(Clip(path=path, captions=texts, caption_place=place if texts else ""))
    if require_captions:
        problems += _without_caption(clips)
    claimed = {clip.path.with_suffix(".txt") for clip in clips}
    texts_found = _find_files(folder, (".txt",), [])
    stray_texts = [path for path in texts_found if path not in claimed]
    return Survey(clips=clips, problems=problems, stray_texts=stray_texts, remarks=remarks)


def split_clips(clips: list[Clip], *, held_out_fraction: float = 0.05) -> tuple[list[Clip], list[Clip]]:
    """Return the clips to train on and the held-out ones, each in the given order.

    A clip's side depends on its file name alone, so clips added later move none. Two exceptions for small
    folders: of 2 clips or more at least one is held out, and at least one is always left to train on.
    """

    def position(clip: Clip) -> tuple[float, str]:
        digest = hashlib.sha256(clip.path.name.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") / 2**64, str(clip.path)

    held_out = {clip.path for clip in clips if position(clip)[0] < held_out_fraction}
    if not held_out and len(clips) >= 2:
        held_out = {min(clips, key=position).path}
    if clips and all(clip.path in held_out for clip in clips):
        held_out.remove(max(clips, key=position).path)
    return (
        [clip for clip in clips if clip.path not in held_out],
        [clip for clip in clips if clip.path in held_out],
    )


def _find_files(folder: Path, suffixes: tuple[str, ...], problems: list[Problem]) -> list[Path]:
    """Every file of these kinds that is not hidden, sorted by its path below ``folder``."""

    def unreadable(error: OSError) -> None:
        message = f"{error.filename}: cannot be listed: {error.strerror}"
        problems.append(Problem(path=Path(error.filename), message=message))

    return sorted(_files(folder, suffixes, unreadable), key=lambda path: path.relative_to(folder).as_posix())


def _files(
    folder: Path, suffixes: tuple[str, ...], on_error: Callable[[OSError], None] | None = None
) -> Iterator[Path]:
    """Every file of these kinds that is not hidden, in no order."""
    for parent, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield Path(parent, name)


def _no_clips(folder: Path) -> str:
    return f"{folder}: holds no clips; looked for {' '.join(VIDEO_SUFFIXES)}, in subfolders too"


def _without_caption(clips: list[Clip]) -> list[Problem]:
    bare = [clip.path for clip in clips if not clip.captions]
    return [
        Problem(
            path=path,
            message=f"{path}: has no caption ({len(bare)} of {len(clips)} have none); write it into "
            f"{path.with_suffix('.txt').name} or {METADATA_NAMES[0]}",
        )
        for path in bare
    ]


def _text_beside(path: Path, problems: list[Problem]) -> tuple[str, ...]:
    text_path = path.with_suffix(".txt")
    if not text_path.is_file():
        return ()
    caption = _one_line("".join(_lines(text_path, problems)))
    return (caption,) if caption else ()


def _read_metadata(
    folder: Path, videos: set[Path], problems: list[Problem], remarks: list[str]
) -> dict[Path, tuple[tuple[str, ...], str]]:
    """Captions, and where they stand, by the file that a row names; ``videos`` are the clips that were found."""
    files = [folder / name for name in METADATA_NAMES if (folder / name).is_file()]
    if len(files) > 1:
        message = f"{folder}: holds both {' and '.join(METADATA_NAMES)}; keep one of them"
        problems.append(Problem(path=folder, message=message))
    captions: dict[Path, tuple[tuple[str, ...], str]] = {}
    for file in files:
        for line, row in _ROWS[file.suffix](file, problems):
            place = f"{file}:{line}"
            try:
                path = _clip_path(folder, row.get("file_name"), place)
                texts = _row_captions(row.get("text"), place)
                exists = path.exists()
            except SoraditError as error:
                problems.append(Problem(path=file, message=str(error)))
                continue
            except (OSError, ValueError, RuntimeError) as error:  # too long, a loop of links, half a surrogate pair
                problems.append(Problem(path=file, message=f"{place}: its file_name can't be a file's: {error}"))
                continue
            if path not in videos:
                reason = "is no video or image by its name, or hidden" if exists else "does not exist"
                problems.append(Problem(path=path, message=f"{place}: names {path}, which {reason}"))
            if path in videos or path.is_file():
                before, lines = captions.get(path, ((), ""))
                if again := set(before) & set(texts):
                    remarks.append(f"{place}: gives {path.name} a caption that it has already: {min(again)}")
                captions[path] = before + texts, f"{lines},{line}" if lines else f"{file.name}:{line}"
    return captions


def _clip_path(folder: Path, name: Any, place: str) -> Path:
    """The file a row names, which must lie in ``folder`` even after links are followed."""
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise SoraditError(f"{place}: needs a file_name, the path of a video below {folder}")
    path = folder / name
    leads_out = (
        "://" in name
        or ".." in PurePosixPath(name.replace("\\", "/")).parts
        or PurePosixPath(name).is_absolute()
        or PureWindowsPath(name).anchor
    )
    if leads_out or not path.resolve().is_relative_to(folder.resolve()):
        raise SoraditError(f"{place}: {name} leads out of {folder}; clips must lie in it")
    return path


def _row_captions(text: Any, place: str) -> tuple[str, ...]:
    texts = text if isinstance(text, list) else [text]
    if not all(isinstance(item, str) for item in texts):
        raise SoraditError(f"{place}: needs a text, the caption (in JSON also a list of captions)")
    if any("\ud800" <= letter <= "\udfff" for item in texts for letter in item):
        raise SoraditError(f"{place}: its text holds half a surrogate pair, which is no character")
    return tuple(caption for item in texts if (caption := _one_line(item)))


def _jsonl_rows(file: Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their line numbers."""
    for number, line in enumerate(_lines(file, problems), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_without_doubles)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(path=file, message=f"{file}:{number}: is not JSON: {error}"))
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            message = f'{file}:{number}: is not a JSON object like {{"file_name": ..., "text": ...}}'
            problems.append(Problem(path=file, message=message))


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a name that stands twice, of which JSON readers silently take the last."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError(f"a name stands twice among {', '.join(name for name, _ in pairs)}")
    return fields


def _csv_rows(file: Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with the number of their last line."""
    reader = csv.DictReader(_lines(file, problems), strict=True)
    try:
        if message := _wrong_columns(list(reader.fieldnames or ())):
            problems.append(Problem(path=file, message=f"{file}:1: {message}"))
            return
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        problems.append(Problem(path=file, message=f"{file}:{reader.reader.line_num}: is not CSV: {error}"))


def _wrong_columns(names: list[str]) -> str:
    counts = {name: names.count(name) for name in ("file_name", "text")}
    if missing := [name for name, count in counts.items() if count == 0]:
        return f"has no column {' and no column '.join(missing)}"
    return next((f"has {count} columns {name}" for name, count in counts.items() if count > 1), "")


def _parquet_rows(file: Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their numbers, from 1; only the two columns are read."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        problems.append(Problem(path=file, message=f"{file}: needs pyarrow to be read: pip install 'soradit[parquet]'"))
        return
    try:
        with file.open("rb") as opened, parquet.ParquetFile(opened) as table:
            if message := _wrong_columns(table.schema_arrow.names):
                problems.append(Problem(path=file, message=f"{file}: {message}"))
                return
            number = 0
            for batch in table.iter_batches(batch_size=1024, columns=["file_name", "text"]):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (ArrowException, OSError, ValueError) as error:
        problems.append(Problem(path=file, message=f"{file}: is not Parquet, or damaged: {error}"))


_ROWS = {".jsonl": _jsonl_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}


def _lines(file: Path, problems: list[Problem]) -> list[str]:
    """The lines of a UTF-8 file, with or without a byte order mark, each with its line end."""
    try:
        content = file.read_bytes()
    except OSError as error:
        problems.append(Problem(path=file, message=f"{file}: cannot be read: {error.strerror}"))
        return []
    lines = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True), start=1):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError:
            lines.append(line.decode(errors="replace"))
            problems.append(Problem(path=file, message=f"{file}:{number}: is not UTF-8; save it as UTF-8"))
    return lines


def _one_line(text: str) -> str:
    return " ".join(text.split())
