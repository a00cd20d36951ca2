"""A folder of captioned clips: find them, pair them with captions, split them, cut them into segments."""

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from soradit.errors import SoraditError

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".3gp", ".ts", ".mpg", ".gif")
METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
TOKEN_FRAMES = 4


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video file and what it shows; one of several captions is as good as another."""

    path: Path
    captions: tuple[str, ...]  # at least one


def find_clips(folder: Path, *, require_captions: bool = True) -> list[Clip]:
    """Find every video in ``folder`` and below, sorted by name, with its captions.

    Captions come from ``metadata.jsonl`` or ``metadata.csv`` in ``folder`` (``file_name`` and ``text``, the
    Hugging Face videofolder form; several rows for a file, or in JSON a list, are several captions), else from
    ``clip.txt`` beside ``clip.mp4``. Names that start with "." are ignored. Without ``require_captions`` a
    clip that has none gets an empty one.

    Raises SoraditError when there is no clip, a clip has no caption, a metadata file is malformed (named with
    its line), or a row names a file that is missing or outside ``folder``.
    """
    if not folder.is_dir():
        raise SoraditError(f"{folder}: {'is not a folder' if folder.exists() else 'no such folder'}")
    paths = _find_videos(folder)
    captions = _read_metadata(folder, set(paths))
    if not paths:
        raise SoraditError(f"{folder}: holds no clips; looked for {' '.join(VIDEO_SUFFIXES)}, in subfolders too")
    clips = [Clip(path=path, captions=captions.get(path) or _text_beside(path)) for path in paths]
    bare = [clip for clip in clips if not clip.captions]
    if bare and require_captions:
        path = bare[0].path
        raise SoraditError(
            f"{path}: has no caption (so {len(bare)} of {len(clips)} clips); write it into "
            f"{path.with_suffix('.txt').name} beside it, or into {' or '.join(METADATA_NAMES)}"
        )
    return [clip if clip.captions else Clip(path=clip.path, captions=("",)) for clip in clips]


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


def segments(num_frames: int, *, window_frames: int, max_segment_frames: int) -> list[range]:
    """Cut a clip's frames into consecutive segments, each a whole number of tokens (4 frames) long.

    Each is at least ``window_frames`` and at most ``max_segment_frames`` long; frames left over at the end are
    trimmed, and a clip shorter than a window gives no segment.
    """
    if not TOKEN_FRAMES <= window_frames <= max_segment_frames:
        raise ValueError(f"needs 4 <= window {window_frames} <= longest segment {max_segment_frames} frames")
    cuts: list[range] = []
    start = 0
    while True:
        length = min(num_frames - start, max_segment_frames) // TOKEN_FRAMES * TOKEN_FRAMES
        if length < window_frames:
            return cuts
        cuts.append(range(start, start + length))
        start += length


def _find_videos(folder: Path) -> list[Path]:
    """Every video that is not hidden, sorted by its path below ``folder``."""

    def unreadable(error: OSError) -> None:
        raise SoraditError(f"{error.filename}: cannot be listed: {error.strerror}") from error

    paths = []
    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES
        ]
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())


def _text_beside(path: Path) -> tuple[str, ...]:
    text_path = path.with_suffix(".txt")
    if not text_path.is_file():
        return ()
    caption = _one_line("".join(_lines(text_path)))
    return (caption,) if caption else ()


def _read_metadata(folder: Path, paths: set[Path]) -> dict[Path, tuple[str, ...]]:
    """Captions by clip, from the metadata file if there is one; ``paths`` are the clips that were found."""
    files = [folder / name for name in METADATA_NAMES if (folder / name).is_file()]
    if len(files) > 1:
        raise SoraditError(f"{folder}: holds both {' and '.join(METADATA_NAMES)}; keep one of them")
    captions: dict[Path, tuple[str, ...]] = {}
    for file in files:
        for line, row in _jsonl_rows(file) if file.suffix == ".jsonl" else _csv_rows(file):
            path = _clip_path(folder, row.get("file_name"), f"{file}:{line}")
            if path not in paths:
                reason = f"is none of {' '.join(VIDEO_SUFFIXES)}, or hidden" if path.exists() else "does not exist"
                raise SoraditError(f"{file}:{line}: names {path}, which {reason}")
            captions[path] = captions.get(path, ()) + _row_captions(row.get("text"), f"{file}:{line}")
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
    return tuple(caption for item in texts if (caption := _one_line(item)))


def _jsonl_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their line numbers."""
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SoraditError(f"{file}:{number}: is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise SoraditError(f'{file}:{number}: is not a JSON object like {{"file_name": ..., "text": ...}}')
        yield number, row


def _csv_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with the number of their last line."""
    reader = csv.DictReader(_lines(file), strict=True)
    try:
        missing = {"file_name", "text"} - set(reader.fieldnames or ())
        if missing:
            raise SoraditError(f"{file}:1: has no column {' and no column '.join(sorted(missing))}")
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise SoraditError(f"{file}:{reader.reader.line_num}: is not CSV: {error}") from error


def _lines(file: Path) -> list[str]:
    """The lines of a UTF-8 file, with or without a byte order mark, each with its line end."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SoraditError(f"{file}: cannot be read: {error.strerror}") from error
    lines = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True), start=1):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError as error:
            raise SoraditError(f"{file}:{number}: is not UTF-8; save it as UTF-8") from error
    return lines


def _one_line(text: str) -> str:
    return " ".join(text.split())
