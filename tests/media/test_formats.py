"""Every form that a video is written in: its frames, its rate, whole or not at all."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soradit import files
from soradit.errors import SoraditError
from soradit.files import MAX_FPS, OUTPUT_SUFFIXES, place
from soradit.media.contact_sheet import CAPTION_HEIGHT, COLUMNS, GAP, THUMBNAIL_WIDTH, film_strip, write_contact_sheet
from soradit.media.tags import read_about
from soradit.media.video import probe_video, read_folder, read_video
from soradit.media.writing import write_video


def gradient(num_frames: int = 6, height: int = 48, width: int = 80) -> np.ndarray:
    """A sky of sorts that moves, (T, H, W, 3)."""
    t, y, x = np.meshgrid(np.arange(num_frames), np.arange(height), np.arange(width), indexing="ij")
    return np.stack([2 * y + 5 * t, 100 + y, 255 - x], axis=-1).clip(0, 255).astype(np.uint8)


def read_images(path: Path) -> tuple[np.ndarray, list[int]]:
    """Frames of a GIF or WebP, and for how many milliseconds each is shown."""
    frames, durations = [], []
    with Image.open(path) as image:
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            frames.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
    return np.stack(frames), durations


@pytest.mark.parametrize(("suffix", "tolerance"), [(".gif", 6.0), (".webp", 3.0)])
def test_animations_hold_the_frames_at_their_rate(tmp_path: Path, suffix: str, tolerance: float) -> None:
    path, frames = tmp_path / f"a{suffix}", gradient()
    write_video(path, frames, fps=16)
    found, durations = read_images(path)
    assert found.shape == frames.shape
    assert np.abs(found.astype(int) - frames).mean() < tolerance
    assert sum(durations) == pytest.approx(6 * 1000 / 16, abs=10)
    assert probe_video(path).fps == pytest.approx(16, rel=0.02)
    with Image.open(path) as image:
        assert image.info["loop"] == 0


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_are_no_faster_than_browsers(tmp_path: Path, suffix: str) -> None:
    path, most = tmp_path / f"a{suffix}", MAX_FPS[suffix]
    write_video(path, gradient(), fps=most)
    assert probe_video(path).fps == pytest.approx(most, rel=0.05)
    with pytest.raises(SoraditError, match=f"{most + 1} fps are more than players show"):
        write_video(path, gradient(), fps=most + 1, overwrite=True)


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
@pytest.mark.parametrize("length", [1, 255, 256, 5000])
def test_a_comment_changes_no_pixel(tmp_path: Path, suffix: str, length: int) -> None:
    about = {"soradit": "1", "weights": "w", "prompt": "x" * length, "negative": "", "seed": 0}
    for name, metadata in (("plain", None), ("told", {"comment": json.dumps(about)})):
        write_video(tmp_path / f"{name}{suffix}", gradient(), fps=16, metadata=metadata)
    assert read_about(tmp_path / f"told{suffix}") == about
    plain, told = (
        np.stack([np.asarray(frame) for frame in _frames(tmp_path / f"{name}{suffix}")]) for name in ("plain", "told")
    )
    assert (plain == told).all()


def _frames(path: Path) -> list[np.ndarray]:
    if path.is_dir():
        return [np.asarray(Image.open(frame)) for frame in sorted(path.iterdir())]
    return list(read_images(path)[0] if path.suffix in (".gif", ".webp") else read_video(path)[0])


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".mp4"])
def test_what_is_no_video_says_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for content in (b"", b"hello", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBP"):
        path.write_bytes(content)
        with pytest.raises(SoraditError, match="not a readable"):
            read_about(path)


def test_a_gif_of_one_colour_keeps_it(tmp_path: Path) -> None:
    write_video(tmp_path / "a.gif", np.full((4, 32, 32, 3), (10, 120, 240), np.uint8), fps=8)
    found, _ = read_images(tmp_path / "a.gif")
    assert np.abs(found.astype(int) - (10, 120, 240)).max() <= 4


def test_a_folder_of_frames_is_exact(tmp_path: Path) -> None:
    path, frames = tmp_path / "a.png", gradient(num_frames=3, height=33, width=21)
    write_video(path, frames, fps=16)
    assert sorted(os.listdir(path)) == ["0000.png", "0001.png", "0002.png"]
    assert (np.stack([np.asarray(Image.open(path / f"{i:04d}.png")) for i in range(3)]) == frames).all()
    Image.new("RGB", (21, 33)).save(path / "cover.png")
    assert (read_folder(path) == frames).all()


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_an_earlier_one_stays_until_it_is_replaced(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_video(path, gradient(), fps=16)
    with pytest.raises(SoraditError, match="exists already"):
        write_video(path, gradient(), fps=16)
    write_video(path, gradient(num_frames=2), fps=16, overwrite=True)
    assert os.listdir(tmp_path) == [path.name]
    assert suffix != ".png" or sorted(os.listdir(path)) == ["0000.png", "0001.png"]


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("soradit.files.shutil.copyfile", full)
    with pytest.raises(SoraditError, match="cannot be written: No space left on device"):
        write_video(tmp_path / f"a{suffix}", gradient(), fps=16)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("is_folder", [False, True])
def test_of_two_that_write_one_name_the_first_wins(tmp_path: Path, is_folder: bool) -> None:
    """Both found the name free; what is there when the second comes to rename stays."""
    first, second, target = tmp_path / "first", tmp_path / "second", tmp_path / "target"
    for path in (first, second):
        if is_folder:
            path.mkdir()
            (path / "0000.png").write_text(path.name)
        else:
            path.write_text(path.name)
    place(first, target, overwrite=False)
    with pytest.raises(SoraditError, match="exists already, made meanwhile"):
        place(second, target, overwrite=False)
    assert (target / "0000.png" if is_folder else target).read_text() == "first"
    assert sorted(os.listdir(tmp_path)) == ["first", "second", "target"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_of_two_that_replace_one_name_both_do(tmp_path: Path, is_folder: bool) -> None:
    target = tmp_path / "target"

    def replace_often(made: Path) -> None:
        for _ in range(50):
            place(made, target, overwrite=True)

    both = [tmp_path / "first", tmp_path / "second"]
    for made in both:
        if is_folder:
            made.mkdir()
        for file in [made / f"{i}.png" for i in range(9)] if is_folder else [made]:
            file.write_text(made.name)
    with ThreadPoolExecutor() as pool:
        list(pool.map(replace_often, both))
    said = [file.read_text() for file in (target.iterdir() if is_folder else [target])]
    assert said in ([made.name] * len(said) for made in both)
    assert len(said) == (9 if is_folder else 1)
    assert sorted(os.listdir(tmp_path)) == ["first", "second", "target"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_a_killed_process_left_is_cleared(tmp_path: Path, is_folder: bool) -> None:
    old, new = tmp_path / ".soradit-0123456789abcdef.part", tmp_path / ".soradit-fedcba9876543210.part"
    for path in (old, new):
        if is_folder:
            path.mkdir()
            (path / "0000.png").touch()
        else:
            path.touch()
    for path in (old, *old.rglob("*"), *([new] if is_folder else [])):  # what is in the new folder still grows
        os.utime(path, (0, 0))
    write_video(tmp_path / "a.gif", gradient(), fps=16)
    assert sorted(os.listdir(tmp_path)) == [new.name, "a.gif"], "another process may be at work on the new one"


def test_what_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, target = tmp_path / "made", tmp_path / "target"
    for folder in (made, target):
        folder.mkdir()
        (folder / "0000.png").write_text(folder.name)

    def fail(source: Path, target: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(SoraditError, match="target: cannot be written: Input/output error"):
        place(made, target, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["made", "target"]
    assert (target / "0000.png").read_text() == "target"


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "holiday.png"
    path.mkdir()
    (path / "letter.txt").write_text("precious")
    with pytest.raises(SoraditError, match="is a folder"):
        write_video(path, gradient(), fps=16, overwrite=True)
    assert (path / "letter.txt").read_text() == "precious"


def test_a_contact_sheet_has_a_row_a_video(tmp_path: Path) -> None:
    strips = [(f"空 {i}.mp4", film_strip(gradient(num_frames=length))) for i, length in enumerate((1, 5, 40))]
    write_contact_sheet(tmp_path / "sheet.png", strips, overwrite=False)
    with Image.open(tmp_path / "sheet.png") as sheet:
        height = len(strips[0][1])
        assert height == round((THUMBNAIL_WIDTH - GAP) * 48 / 80)
        assert sheet.size == (COLUMNS * THUMBNAIL_WIDTH, 3 * (height + CAPTION_HEIGHT))
        row = np.asarray(sheet)[2 * (height + CAPTION_HEIGHT) :]
    assert (row[:height, THUMBNAIL_WIDTH - GAP : THUMBNAIL_WIDTH] == 0).all(), "frames are apart"
    reds = row[40, THUMBNAIL_WIDTH // 2 :: THUMBNAIL_WIDTH, 0].astype(int)
    assert len(reds) == COLUMNS
    assert (np.diff(reds) >= 0).all()
    assert reds[-1] > reds[0]


def test_captions_stand_beneath_their_rows_on_one_line(tmp_path: Path) -> None:
    strip = film_strip(np.zeros((1, 48, 80, 3), np.uint8))
    pages = []
    for caption in ("", "a.mp4: sky", "a.mp4: sky\n\n\x1b[31m空", "sky " * 4000):
        write_contact_sheet(tmp_path / "sheet.png", [(caption, strip)] * 2, overwrite=True)
        with Image.open(tmp_path / "sheet.png") as sheet:
            pages.append(np.asarray(sheet).reshape(2, len(strip) + CAPTION_HEIGHT, -1))
    assert all((page[:, : len(strip)] == 0).all() for page in pages)
    written = [page[:, len(strip) :] for page in pages]
    assert [captions.any() for captions in written] == [False, True, True, True]
    assert all((first == second).all() for first, second in written)
    assert not written[3][:, :, -3 * 20 :].any(), "shortened, not cut off at the border"


@pytest.mark.parametrize("comment", [None, "", "hello", "[1]", '{"prompt": "sky"}', '{"soradit": 1, "weights": "x"}'])
def test_what_says_nothing_of_its_making(tmp_path: Path, comment: str | None) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, gradient(), fps=16, metadata=None if comment is None else {"comment": comment})
    with pytest.raises(SoraditError, match="doesn't say how it was made"):
        read_about(path)
