"""Files that appear whole or not at all."""

import errno
import hashlib
import math
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from soradit.errors import SoraditError, UsageError

MAX_FPS = {".mp4": 1000, ".gif": 50, ".webp": 90}
"""A frame of a GIF or WebP that is to be shown for less is shown for a tenth of a second, by browsers."""
PREFIX, SUFFIX = ".soradit-", ".part"
"""What begins and ends the name of a file that is not finished."""
ABANDONED_SECONDS = 3600
"""What has not grown for so long is nobody's any more."""
OUTPUT_SUFFIXES = (".mp4", ".gif", ".webp", ".png")
"""What a video is written as, by its name; a name that ends in .png is a folder of frames."""


def is_video_name(path: Path) -> bool:
    """Whether a video can be written under it."""
    return path.suffix.lower() in OUTPUT_SUFFIXES


def frame_name(index: int) -> str:
    """A frame's name in a folder of frames; they count from 0."""
    return f"{index:04d}.png"


FIRST_FRAME = frame_name(0)


def require_file(path: Path) -> None:
    """Raises SoraditError where there is none."""
    if not path.is_file():
        raise SoraditError(f"{path}: {'is no file' if path.exists() else 'no such file'}")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write bytes, or UTF-8 text, beside ``path`` and move them there in one step, replacing what was there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A folder to fill; what is in it at the end of the block is ``target`` then, whole and on the disk."""
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        reveal(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def reveal(temporary: Path, target: Path) -> None:
    """Give a finished folder its name, once the disk has all that is in it, in place of what had that name before."""
    for path in (*temporary.rglob("*"), temporary):
        _sync(path)
    before = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    with suppress(FileNotFoundError):
        os.rename(target, before)
    os.replace(temporary, target)
    _sync(target.parent)
    shutil.rmtree(before, ignore_errors=True)


def sha256_of(*paths: Path) -> str:
    """SHA-256, in hexadecimal, of the files' bytes one after another. Raises OSError for one that can't be read."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()


def check_output_path(
    path: Path, *, overwrite: bool, suffixes: Sequence[str] = OUTPUT_SUFFIXES, new_folder: Path | None = None
) -> None:
    """Raise SoraditError unless a file (or folder of frames) can be written at ``path``; cheap: ask before any work.

    ``new_folder`` is one that will be made where it isn't there.
    """
    if path.suffix.lower() not in suffixes:
        *most, last = suffixes
        raise UsageError(f"{path}: give a name that ends in {', '.join(most)}{' or ' if most else ''}{last}")
    try:
        parent = path.parent
        if parent == new_folder and not parent.exists():
            parent = parent.parent
        if not parent.exists():
            raise SoraditError(f"{path}: the folder {parent} does not exist; make it first")
        if not parent.is_dir():
            raise SoraditError(f"{path}: {parent} is not a folder")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise SoraditError(f"{path}: the folder {parent} may not be written to")
        if path.is_dir() and not is_written(path):
            raise SoraditError(f"{path}: is a folder; give the name of a file")
        if path.exists() and not overwrite:
            raise SoraditError(f"{path}: exists already; give --overwrite to replace it")
    except OSError as error:
        raise SoraditError(f"{path}: {error.strerror}") from error


def is_written(path: Path) -> bool:
    """Whether a file, or a folder of frames, is there; not where that can't be asked, as ``check_output_path`` says."""
    try:
        if path.is_dir():
            return path.suffix.lower() == ".png" and all(entry.suffix == ".png" for entry in path.iterdir())
        return path.exists()
    except OSError:  # a name too long, a folder that may not be listed
        return False


def make_folder(path: Path) -> None:
    """Make a folder, unless it is there. Raises SoraditError when it can't be made."""
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise SoraditError(f"{path}: cannot be made: {error.strerror}") from error


def check_fps(path: Path, fps: float) -> None:
    """Raise SoraditError for more frames a second than are shown of a file like ``path``."""
    if fps > (most := MAX_FPS.get(path.suffix.lower(), math.inf)):
        raise UsageError(f"{path}: {fps:g} fps are more than players show of {path.suffix}: {most} are the most")


@contextmanager
def scratch_for(path: Path) -> Iterator[Path]:
    """A folder to make ``path`` in, far from its place: whatever kills us, nothing is left there.

    Raises SoraditError for an OSError inside.
    """
    try:
        _clear_leftovers(Path(tempfile.gettempdir()))
        with tempfile.TemporaryDirectory(prefix=PREFIX, suffix=SUFFIX) as folder:
            yield Path(folder)
    except OSError as error:
        where, why = tempfile.tempdir or "any folder for temporary files", error.strerror or error
        remedy = "make room there, or name another folder by TMPDIR"
        raise SoraditError(f"{path}: cannot be made in {where} ({why}): {remedy}") from error


def place(made: Path, path: Path, *, overwrite: bool) -> None:
    """Put a copy of a file or folder at ``path``, in one step, also when another process does so at the same time.

    Raises SoraditError when it can't be written, or is there already and ``overwrite`` isn't given.
    """
    _clear_leftovers(path.parent)
    temporary = _name_beside(path)
    try:
        if made.is_dir():
            temporary.mkdir()
            for frame in made.iterdir():
                shutil.copyfile(frame, temporary / frame.name)
                _sync(temporary / frame.name)
        else:
            shutil.copyfile(made, temporary)
        _sync(temporary)
        (_rename_over if overwrite else _rename_to_new)(temporary, path)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise SoraditError(f"{path}: exists already, made meanwhile; give --overwrite to replace it") from error
        raise SoraditError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        _remove(temporary)


def _name_beside(path: Path) -> Path:
    """In the same folder, because a rename is atomic only within a file system."""
    return path.with_name(f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}")


@cache
def _clear_leftovers(folder: Path) -> None:
    """Remove what processes that were killed have left; once, for folders may be large."""
    for leftover in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError):
            newest = max(path.stat().st_mtime for path in (leftover, *leftover.rglob("*")))
            if time.time() - newest > ABANDONED_SECONDS:
                _remove(leftover)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    if path.is_file():
        path.unlink()


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Rename, but never over another file, nor a folder that holds anything."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a folder, or a file system without links: nearly as good
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.replace(temporary, path)


def _rename_over(temporary: Path, path: Path) -> None:
    """Rename over whatever is there; what is or becomes a folder is put aside first, whole: only files are replaced."""
    while True:
        aside = _name_beside(path)
        if path.is_dir() or temporary.is_dir():
            with suppress(FileNotFoundError):
                os.rename(path, aside)
        try:
            os.replace(temporary, path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # else another process was there between the two
                with suppress(FileNotFoundError):
                    os.rename(aside, path)
                raise
            _remove(aside)
        else:
            _remove(aside)
            return


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
