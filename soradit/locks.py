"""Bytes of a file that one process at a time can hold; what the dead held is free."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: two processes may do the same work, and still write whole files
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(file: IO[bytes], place: int = 0) -> Iterator[None]:
    """Wait for a byte, and hold it."""
    if fcntl:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
    try:
        yield
    finally:
        unlock(file, place)


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
