"""More oddities of the world's files, each seen to be read wrong once."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from test_reading import FRAMES, NUM_FRAMES, assert_same, ffmpeg, inspect, run, yuv

from soradit.errors import SoraditError
from soradit.media.video import probe_video, read_video


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff"])
def test_stills_are_turned_and_mirrored_by_exif(tmp_path: Path, name: str, tag: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = tag
    options = {"a.jpg": {"quality": 98, "subsampling": 0}, "a.webp": {"lossless": True}}.get(name, {})
    Image.fromarray(FRAMES[0]).save(tmp_path / name, exif=exif, **options)
    with Image.open(tmp_path / name) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert_same(read_video(tmp_path / name)[0], upright[None])


DISPLAY = "master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(40000000,50)"


def test_pq_is_rolled_off_from_the_peak_that_it_names(tmp_path: Path) -> None:
    """The higher the peak that is to become white, the more is kept of the way there from 203 to 600 cd/m2."""
    says = {None: "", 4000.0: DISPLAY, 600.0: f"{DISPLAY}:max-cll=600,100"}
    lumas = [np.full((64, 64), round(64 + 876 * signal), "<u2") for signal in (0.5807, 0.6977)]  # BT.2100, table 4
    chroma = np.full((64, 64), 512, "<u2")
    raw = ("-f", "rawvideo", "-pix_fmt", "yuv444p10le", "-s", "64x64", "-r", "10", "-i", "-")
    tags = "setparams=range=tv:colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084"
    given = b"".join(plane.tobytes() for luma in lumas for plane in (luma, chroma, chroma))
    bright = {}
    for peak, words in says.items():
        codec = ("-c:v", "libx265", "-x265-params", f"lossless=1:log-level=0:hdr10=1:{words}".rstrip(":"))
        path = run(*raw, "-vf", tags, *codec, tmp_path / f"{peak}.mp4", given=given)
        assert inspect(path).colour.peak_nits == peak
        white, bright[peak] = read_video(path)[0][:, 32, 32, 1].tolist()
        assert white < bright[peak] - 5
    assert bright[4000.0] < bright[None] - 5 < bright[600.0] == 255  # what says nothing is taken for 1000 cd/m2


def test_a_transport_stream_whose_clock_jumps_back(tmp_path: Path) -> None:
    parts = [
        ffmpeg(tmp_path / f"{offset}.ts", *yuv("bt709", False), "-output_ts_offset", offset) for offset in ("100", "5")
    ]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    found = inspect(path)
    assert (found.damage, found.num_frames, found.info.duration_seconds) == (None, 2 * NUM_FRAMES, None)
    assert_same(read_video(path)[0], np.concatenate([FRAMES] * 2))


def test_packets_without_content_go_on_with_the_frame_before(tmp_path: Path) -> None:
    frames = FRAMES.repeat(4, 0)
    path = ffmpeg(tmp_path / "a.ogv", "-c:v", "libtheora", "-q:v", "10", frames=frames, fps=40)
    assert inspect(path).num_frames < len(frames)
    actual, _ = read_video(path, fps=40)
    assert_same(actual, frames[: len(actual)])
    assert len(actual) > len(frames) - 4


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_hasty_animations_are_shown_as_browsers_do(tmp_path: Path, name: str) -> None:
    """A frame of 10 ms counts as one of 100 ms, one of 20 ms as itself; also far from the start."""
    first, *others = [Image.fromarray(frame) for frame in np.concatenate([FRAMES] * 8)]
    milliseconds = [10, 20] * 24
    options = {"lossless": True} if name == "a.webp" else {}
    first.save(tmp_path / name, save_all=True, append_images=others, duration=milliseconds, **options)
    shown = np.concatenate([FRAMES] * 8).repeat([5, 1] * 24, 0)
    if name == "a.webp":
        assert probe_video(tmp_path / name).fps == pytest.approx(2 / 0.12)
    assert_same(read_video(tmp_path / name, fps=50)[0], shown, tolerance=8)
    assert_same(read_video(tmp_path / name, fps=50, start_seconds=2.5, num_frames=9)[0], shown[-19:-10], tolerance=8)


def test_an_animated_webp_is_not_read_whole_without_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ffmpeg(tmp_path / "a.webp", "-c:v", "libwebp_anim", "-lossless", "1", "-vf", "format=bgra")
    monkeypatch.setattr("soradit.media.container.MAX_BYTES", path.stat().st_size)
    assert len(read_video(path)[0]) == NUM_FRAMES
    monkeypatch.setattr("soradit.media.container.MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(SoraditError, match=r"a\.webp: is longer than .* MB: convert it to MP4"):
        read_video(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a readable file: it is empty"),
        (
            b"1\n00:00:00,000 --> 00:00:02,000\nHello\n\n" * 5,
            "not a readable video, or damaged: of a kind",
        ),
        (b"<!DOCTYPE html><html>404</html>", "not a readable video"),
    ],
)
def test_what_is_no_video_is_refused_in_words(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(SoraditError, match=rf"a\.mp4: {reason}"):
        read_video(path)
