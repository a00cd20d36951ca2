"""By which content a clip's file is known, so that a renamed one is the same, and each is read but once."""

import errno
import json
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from soradit.errors import SoraditError
from soradit.files import sha256_of, write_whole
from soradit.locks import locked

CONTENTS = "contents.json"
"""In a cache: which file, of what size and time, has which content."""

_contents: dict[tuple[str, int, int], str] = {}
"""Hashes by path, size in bytes and time of the last change in nanoseconds."""


def content_hash(path: Path) -> str:
    """24 hexadecimal digits of the SHA-256 of a file's bytes, which are read once unless the file is edited.

    Raises SoraditError when it can't be opened.
    """
    try:
        key = _version(path)
        if key not in _contents:
            _contents[key] = sha256_of(path)[:24]
        return _contents[key]
    except OSError as error:
        raise SoraditError(f"{path}: cannot be opened: {error.strerror}") from error


def is_content_known(path: Path) -> bool:
    """Whether ``content_hash`` need not read the file."""
    try:
        return _version(path) in _contents
    except OSError:
        return False


def recall_contents(folder: Path) -> None:
    """Know again the hashes that ``keep_contents`` kept, so that gigabytes of clips are not read at each start."""
    for name, (size, time, content) in _kept_contents(folder).items():
        _contents[os.path.abspath(folder / name), size, time] = content


def keep_contents(folder: Path, paths: Iterable[Path]) -> None:
    """Keep the hashes of these files in the cache, by their paths from there."""
    known = {}
    for path in paths:
        with suppress(OSError, KeyError, ValueError):  # gone or edited since, or on another drive
            version = _version(path)
            known[os.path.relpath(path, folder)] = [*version[1:], _contents[version]]
    # A cache that can't be written says so elsewhere.
    with suppress(OSError), open(folder / "lock", "ab") as lock, locked(lock):
        for leftover in folder.glob(f".{CONTENTS}.*.tmp"):  # of a process that was killed
            leftover.unlink(missing_ok=True)
        kept = _kept_contents(folder) | known
        write_whole(folder / CONTENTS, json.dumps(kept, indent=0, sort_keys=True) + "\n")


def _kept_contents(folder: Path) -> dict[str, list]:
    try:
        kept = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        return {name: version for name, version in kept.items() if len(version) == 3}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _version(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # to open a pipe is to wait for whoever writes into it
        raise OSError(errno.EINVAL, "is no file")
    return os.path.abspath(path), status.st_size, status.st_mtime_ns
