"""Whatever ends the writing of a video, there is no part of one under its name, and the next run clears up."""

import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soradit import files
from soradit.errors import SoraditError
from soradit.files import OUTPUT_SUFFIXES
from soradit.media.contact_sheet import CAPTION_HEIGHT, GAP, THUMBNAIL_WIDTH, film_strip, write_contact_sheet
from soradit.media.video import read_video
from soradit.media.writing import write_video

SHAPE = (12, 128, 128, 3)
NAMES = (*(f"video{suffix}" for suffix in OUTPUT_SUFFIXES), "sheet.png")
UNFINISHED = ".soradit-*.part"


def write(path: Path) -> None:
    """A video of noise, or a contact sheet."""
    frames = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    if path.stem == "sheet":
        write_contact_sheet(path, [("noise", film_strip(frames))] * 9, overwrite=True)
    else:
        write_video(path, frames, fps=8, overwrite=True)


def write_slowly(path: Path) -> None:
    """As onto a slow disk."""

    def copy(source: Path, target: Path) -> None:
        with open(source, "rb") as made, open(target, "wb", buffering=0) as file:
            while chunk := made.read(4096):
                file.write(chunk)
                time.sleep(0.01)

    files.shutil.copyfile = copy
    write(path)


def is_whole(path: Path) -> bool:
    """Whether it decodes to its end."""
    if path.stem == "sheet":
        return np.asarray(Image.open(path)).shape[0] == 9 * (CAPTION_HEIGHT + THUMBNAIL_WIDTH - GAP)
    if path.is_dir():
        return [np.asarray(Image.open(frame)).shape for frame in path.iterdir()] == [SHAPE[1:]] * SHAPE[0]
    return read_video(path)[0].shape == SHAPE


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("moment", "earlier"), [("making", False), ("copying", False), ("copying", True)])
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_writer_leaves_no_part_under_the_name(
    scratch: Path, target: Path, monkeypatch: pytest.MonkeyPatch, name: str, moment: str, earlier: bool
) -> None:
    path, parts = target / name, {"making": scratch, "copying": target}[moment]
    if earlier:
        write(path)
    code = "import pathlib, sys; sys.path.append(sys.argv[1]); import test_killed; "
    code += "test_killed.write_slowly(pathlib.Path(sys.argv[2]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(path)],
        env={**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    until = time.monotonic() + 100
    while not any(part.is_file() or any(part.iterdir()) for part in parts.glob(UNFINISHED)):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert is_whole(path) if earlier else not path.exists()

    left = [part for folder in (scratch, target) for part in folder.glob(UNFINISHED)]
    assert left
    later = time.time() + 2 * files.ABANDONED_SECONDS
    monkeypatch.setattr(files.time, "time", lambda: later)
    files._clear_leftovers.cache_clear()
    write(path)
    assert is_whole(path)
    assert (os.listdir(target), os.listdir(scratch)) == ([name], [])


@pytest.mark.parametrize("name", NAMES)
def test_a_disk_that_fills_up_while_it_is_made(scratch: Path, target: Path, name: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # no file may be longer
    try:
        with pytest.raises(SoraditError) as refused:
            write(target / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(refused.value).startswith(f"{target / name}: ")
    assert "\n" not in str(refused.value)
    assert (os.listdir(target), os.listdir(scratch)) == ([], [])


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_disk_that_fills_up_while_it_is_put_in_its_place(
    scratch: Path, target: Path, name: str, earlier: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if earlier:
        write(target / name)

    def copy_half(source: Path, target: Path) -> None:
        content = Path(source).read_bytes()
        Path(target).write_bytes(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(files.shutil, "copyfile", copy_half)
        with pytest.raises(SoraditError, match=f"{name}: cannot be written: No space left on device"):
            write(target / name)
    assert (os.listdir(target), os.listdir(scratch)) == ([name] if earlier else [], [])
    if earlier:
        assert is_whole(target / name)
    write(target / name)
    assert is_whole(target / name)
