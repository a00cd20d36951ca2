"""Bytes of a file that one process at a time can hold; what the dead held is free."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: two processes may do the same work, and still write whole files
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(file: IO[bytes]) -> Iterator[None]:
    """Wait for the first byte, and hold it."""
    if fcntl:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 0)
    try:
        yield
    finally:
        unlock(file, 0)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Wait until no other process holds what is at ``path``, and hold it: by a file beside it, gone afterwards."""
    beside = path.with_name(f".{path.name}.lock")
    while True:
        with open(beside, "ab") as file, locked(file):
            if not _is_at(beside, file):  # who held it before took it away
                continue
            try:
                yield
            finally:
                with suppress(OSError):
                    beside.unlink()
            return


def _is_at(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def try_lock(file: IO[bytes], place: int) -> bool:
    """Hold a byte until ``unlock``, or until the file is closed; False where another process holds it."""
    if fcntl:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            return False
    return True


def unlock(file: IO[bytes], place: int) -> None:
    if fcntl:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, place)
