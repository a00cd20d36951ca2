"""Captions as files hold them: a text beside a clip, or rows of a metadata file that name clips."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from soradit.errors import SoraditError

METADATA_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A reason for which ``find_clips`` refuses a folder."""

    path: Path  # what it is about: the folder, a metadata file, a clip or its text
    message: str


def text_beside(path: Path, problems: list[Problem]) -> tuple[str, ...]:
    text_path = path.with_suffix(".txt")
    if not text_path.is_file():
        return ()
    caption = _one_line("".join(_lines(text_path, problems)))
    return (caption,) if caption else ()


def read_metadata(
    folder: Path, videos: set[Path], problems: list[Problem], remarks: list[str]
) -> dict[Path, tuple[tuple[str, ...], str]]:
    """Captions, and where they stand, by the file that a row names; ``videos`` are the clips that were found."""
    files = [folder / name for name in METADATA_NAMES if (folder / name).is_file()]
    if len(files) > 1:
        message = f"{folder}: holds both {' and '.join(file.name for file in files)}; keep one of them"
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
            if None in row:
                message = f'{file}:{reader.line_num}: has more fields than columns; put a text with commas in "quotes"'
                problems.append(Problem(path=file, message=message))
            else:
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
