"""Video files are written whole or not at all, tagged, and always with the same bytes."""

from pathlib import Path

import av
import numpy as np
import pytest

from soradit.errors import SoraditError
from soradit.media import writing
from soradit.media.video import read_video
from soradit.media.writing import write_video


def patches(num_frames: int = 8, height: int = 64, width: int = 96) -> np.ndarray:
    """Flat 32x32 patches of random colours, (T, H, W, 3)."""
    colours = np.random.default_rng(0).integers(0, 256, (height // 32, width // 32, 3), dtype=np.uint8)
    return np.tile(colours.repeat(32, 0).repeat(32, 1), (num_frames, 1, 1, 1))


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: int = 3) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected).max() <= tolerance


def test_what_is_written_is_read(tmp_path: Path) -> None:
    frames = patches()
    write_video(tmp_path / "a.mp4", frames, fps=12.5)
    actual, fps = read_video(tmp_path / "a.mp4")
    assert fps == 12.5
    # Chroma has half the resolution, so that colours meet softly within 4 pixels of a patch's edge.
    inner = [i for i in range(96) if 4 <= i % 32 < 28]
    assert actual.shape == frames.shape
    assert_close(actual[:, inner[:48]][:, :, inner], frames[:, inner[:48]][:, :, inner])


def test_written_file_is_tagged_and_says_nothing_of_its_maker(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, patches(), fps=8, metadata={"title": "sora", "comment": '{"prompt": "空 = sky"}'})
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert context.pix_fmt == "yuv420p"
        assert container.metadata["title"] == "sora"
        assert container.metadata["comment"] == '{"prompt": "空 = sky"}'
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert b"x264 - core" not in content
    assert b"Lavf" not in content
    assert capfd.readouterr() == ("", "")


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames, fps=8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_existing_file_stays_without_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"mine")
    with pytest.raises(SoraditError, match=r"a\.mp4.*--overwrite"):
        write_video(path, patches(), fps=8)
    assert path.read_bytes() == b"mine"
    write_video(path, patches(), fps=8, overwrite=True)
    assert len(read_video(path)[0]) == 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.avi", "ends in .mp4"),
        ("none/a.mp4", "does not exist"),
        ("file/a.mp4", "not a folder"),
        ("dir.mp4", "folder"),
    ],
)
def test_paths_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dir.mp4").mkdir()
    with pytest.raises(SoraditError, match=message):
        write_video(tmp_path / name, patches(), fps=8)


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        (np.zeros((2, 33, 65, 3), np.uint8), 8, r"65x33; crop to 64x32"),
        (np.zeros((0, 32, 32, 3), np.uint8), 8, r"at least 1 frame"),
        (np.zeros((2, 32, 32, 3), np.uint8), float("nan"), r"positive rate"),
        (np.zeros((2, 32, 32, 3), np.uint8), 1001, r"1001 fps are more than players show of \.mp4: 1000 are the most"),
    ],
)
def test_frames_that_cannot_be_written(tmp_path: Path, frames: np.ndarray, fps: float, message: str) -> None:
    with pytest.raises(SoraditError, match=message):
        write_video(tmp_path / "a.mp4", frames, fps=fps)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_when_ffmpeg_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(writing, "_RGB_TO_BT709", "scale=w=none")
    with pytest.raises(SoraditError, match=r"a\.mp4: ffmpeg wrote 0 of 8 frames: .*Invalid argument"):
        write_video(tmp_path / "a.mp4", patches(), fps=8)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_when_frames_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"mine")
    monkeypatch.setattr(writing, "_count_frames", lambda path: 7)
    with pytest.raises(SoraditError, match="7 of 8 frames"):
        write_video(path, patches(), fps=8, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"mine"


def test_nothing_is_left_when_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path) -> int:
        assert path.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_count_frames", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", patches(), fps=8)
    assert not list(tmp_path.iterdir())
