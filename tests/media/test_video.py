"""Video files are read upright, undistorted and by presentation time."""

import csv
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from soradit.errors import SoraditError
from soradit.media.video import iterate_frames, probe_video, read_image, read_video
from soradit.media.writing import write_video

SHARED_CLIPS = Path(__file__).parents[3] / "shared" / "clips"


def patches(num_frames: int = 8, height: int = 64, width: int = 96) -> np.ndarray:
    """Flat 32x32 patches of random colours, (T, H, W, 3)."""
    colours = np.random.default_rng(0).integers(0, 256, (height // 32, width // 32, 3), dtype=np.uint8)
    return np.tile(colours.repeat(32, 0).repeat(32, 1), (num_frames, 1, 1, 1))


def quarters(height: int = 64, width: int = 96) -> np.ndarray:
    """One frame, red top left, green top right, blue bottom left, white bottom right."""
    frame = np.full((height, width, 3), 255, np.uint8)
    frame[: height // 2, : width // 2] = (255, 0, 0)
    frame[: height // 2, width // 2 :] = (0, 255, 0)
    frame[height // 2 :, : width // 2] = (0, 0, 255)
    return frame


def write_raw(
    path: Path,
    frames: np.ndarray,
    *,
    ticks: list[int] | None = None,
    rotation: int = 0,
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Write with av, lossless MPEG-4 part 10, with the oddities that cameras produce; a tick is 0.1 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=10, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "rgb24"
        stream.codec_context.time_base = Fraction(1, 10)
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for tick, pixels in zip(ticks or range(len(frames)), frames, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: int = 3) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected).max() <= tolerance


def test_variable_rate_is_read_by_presentation_time(tmp_path: Path) -> None:
    greys = np.array([0, 60, 120, 180, 240], np.uint8)
    frames = np.broadcast_to(greys[:, None, None, None], (5, 32, 32, 3))
    path = write_raw(tmp_path / "a.mkv", frames, ticks=[0, 1, 5, 6, 9])
    actual, fps = read_video(path, fps=10)
    assert fps == 10
    assert actual[:, 16, 16, 0].tolist()[:10] == [0, 60, 60, 60, 60, 120, 180, 180, 180, 240]
    stored, _ = read_video(path)
    assert stored[:, 16, 16, 0].tolist() == greys.tolist()


@pytest.mark.parametrize("fps", [None, 5.0])
def test_a_later_start_gives_the_same_frames(tmp_path: Path, fps: float | None) -> None:
    frames = np.broadcast_to(np.arange(40, dtype=np.uint8)[:, None, None, None] * 6, (40, 32, 32, 3))
    path = write_raw(tmp_path / "a.mp4", frames)
    whole, rate = read_video(path, fps=fps)
    part, _ = read_video(path, fps=fps, start_seconds=15 / rate, num_frames=4)
    np.testing.assert_array_equal(part, whole[15:19])
    with pytest.raises(SoraditError, match="no frame from 99 s on"):
        read_video(path, fps=fps, start_seconds=99)


@pytest.mark.parametrize("counterclockwise", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, counterclockwise: int) -> None:
    frame = quarters()
    path = write_raw(tmp_path / "a.mp4", frame[None].repeat(3, 0), rotation=counterclockwise)
    upright = np.rot90(frame, counterclockwise // 90)
    info = probe_video(path)
    assert info.rotation_degrees == 360 - counterclockwise
    assert (info.height, info.width) == upright.shape[:2]
    assert_close(read_video(path)[0][0], upright)


def test_non_square_pixels_are_made_square(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mp4", quarters()[None].repeat(3, 0), pixel_aspect=Fraction(4, 3))
    actual, _ = read_video(path)
    assert actual.shape == (3, 64, 128, 3)
    # A square crop of the stretched picture shows its middle half.
    assert_close(read_video(path, size=(64, 64))[0][0, 16, [8, 56]], np.array([[255, 0, 0], [0, 255, 0]]))


def test_covering_crop_takes_the_centre_without_distortion(tmp_path: Path) -> None:
    across = np.zeros((96, 128, 3), np.uint8)
    across[..., 0] = np.arange(128) * 2
    across[..., 1] = np.arange(96)[:, None] * 2
    path = write_raw(tmp_path / "a.mp4", across[None].repeat(3, 0))
    assert_close(read_video(path, size=(96, 64))[0][0], across[:, 32:96])
    assert_close(read_video(path, size=(32, 128))[0][0], across[32:64])
    halved = read_video(path, size=(48, 48))[0][0]
    assert halved.shape == (48, 48, 3)
    assert_close(halved[4:-4, 4:-4], across[:, 16:112].reshape(48, 2, 48, 2, 3).mean((1, 3))[4:-4, 4:-4])


def test_the_largest_stream_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264rgb", rate=10) for _ in range(2)]
        for stream, side in zip(streams, (32, 64), strict=True):
            stream.width = stream.height = side
            stream.pix_fmt = "rgb24"
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(np.full((stream.height, stream.width, 3), 200, np.uint8))
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    assert probe_video(path).stream_index == 1
    assert read_video(path)[0].shape == (1, 64, 64, 3)


def test_frames_come_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, patches(), fps=8)
    frames = iterate_frames(path, size=(32, 32))
    assert next(frames).shape == (32, 32, 3)
    assert len(list(frames)) == 7


def test_images_are_read_by_the_same_crop(tmp_path: Path) -> None:
    frame = quarters()
    for name in ("a.png", "100%d.jpg"):
        av.VideoFrame.from_ndarray(frame, format="rgb24").save(tmp_path / name)
        assert read_image(tmp_path / name, size=(32, 32)).shape == (32, 32, 3)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), frame)
    with pytest.raises(SoraditError, match=r"a\.mp4: not a readable"):
        read_image(write_raw(tmp_path / "a.mp4", frame[None]))


def test_a_script_named_mp4_opens_no_other_file(tmp_path: Path) -> None:
    write_video(tmp_path / "secret.mp4", patches(), fps=8)
    script = tmp_path / "clip.mp4"
    script.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with pytest.raises(SoraditError, match=r"clip\.mp4: not a readable"):
        read_video(script)


def damaged(content: bytes, kind: str) -> bytes:
    third = len(content) // 3
    return {
        "empty": b"",
        "text": b"not a video at all\n" * 100,
        "header only": content[:100],
        "cut off": content[: 2 * third],
        "hole": content[:third] + bytes(third) + content[2 * third :],
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "header only", "cut off", "hole"])
def test_damaged_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8), fps=8)
    path.write_bytes(damaged(path.read_bytes(), kind))
    with pytest.raises(SoraditError, match=r"a\.mp4: (not a readable .*(damaged|empty)|damaged|holds no video stream)"):
        read_video(path)


def test_missing_files_and_sound_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SoraditError, match=r"a\.mp4: cannot be opened: No such file"):
        read_video(tmp_path / "a.mp4")
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(SoraditError, match=r"sound\.mp4: holds no video stream"):
        read_video(path)


def shared_rows() -> list[dict[str, str]]:
    if not SHARED_CLIPS.is_dir():
        return []
    with (SHARED_CLIPS / "INDEX.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


# What the index says of these differs from what is right: the larger of two streams, and a cut-off file.
SHARED_EXCEPTIONS = {"tc_nasa_13013.mp4": (390, 270, 480), "jcodec_issue365_truncated.mkv": None}


@pytest.mark.skipif(not SHARED_CLIPS.is_dir(), reason="the shared clips are not here")
@pytest.mark.parametrize("row", shared_rows(), ids=lambda row: row["file"])
def test_shared_clips(row: dict[str, str]) -> None:
    path = SHARED_CLIPS / row["file"]
    expected: tuple[int, int, int] | None = None
    if row["decoded"] != "-":
        width, height = map(int, row["res"].split("x"))
        if ":" in row["sar"]:
            width = round(width * Fraction(row["sar"].replace(":", "/")))
        if row["rotation"]:
            width, height = height, width
        expected = (int(row["decoded"]), height, width)
    expected = SHARED_EXCEPTIONS.get(row["file"], expected)
    if expected is None:
        with pytest.raises(SoraditError, match=row["file"]):
            read_video(path)
        return
    info = probe_video(path)
    assert (info.height, info.width) == expected[1:]
    shapes = [frame.shape for frame in iterate_frames(path, size=(32, 32))]
    assert shapes == [(32, 32, 3)] * expected[0]


def test_colon_and_dash_in_names(tmp_path: Path) -> None:
    for name in ("a:b.mp4", "-dash.mp4", "100%d.mp4"):
        write_video(tmp_path / name, patches(), fps=8)
        shutil.move(tmp_path / name, tmp_path / f"http:{name}")
        assert len(read_video(tmp_path / f"http:{name}")[0]) == 8
