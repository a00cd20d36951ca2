"""Each oddity that files of the world have, one by one: made here with ffmpeg, and read as a player shows it."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from soradit.errors import SoraditError
from soradit.media.inspection import Inspection, inspecting
from soradit.media.video import iterate_frames, probe_video, read_video

HEIGHT, WIDTH, NUM_FRAMES, FPS = 64, 96, 6, 10
# Two corners of a frame are of the frame's own colours, two of all frames': so are time and place told apart.
FRAMES = np.empty((NUM_FRAMES, HEIGHT, WIDTH, 3), np.uint8)
FRAMES[:, :32, :48] = np.array(
    [(230, 20, 30), (20, 200, 60), (40, 50, 220), (200, 190, 20), (90, 90, 90), (10, 160, 170)]
)[:, None, None]
FRAMES[:, :32, 48:] = (180, 120, 60)
FRAMES[:, 32:, :48] = (60, 180, 120)
FRAMES[:, 32:, 48:] = np.arange(20, 256, 40)[:NUM_FRAMES, None, None, None]

LOSSLESS = ("-c:v", "libx264", "-qp", "0")


def ffmpeg(path: Path, *options: str, frames: np.ndarray = FRAMES, fps: int = FPS) -> Path:
    """Write frames with the given options between the raw input and the file."""
    _, height, width, _ = frames.shape
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-")
    return run(*raw, *options, path, given=frames.tobytes())


def run(*arguments: object, given: bytes = b"") -> Path:
    *_, path = arguments
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, input=given, check=True, timeout=60)
    return Path(str(path))


def yuv(matrix: str, full_range: bool, pixels: str = "yuv420p") -> tuple[str, ...]:
    """Lossless, converted to and tagged with a matrix and a range."""
    matrix_tag = {"bt601": "smpte170m", "bt709": "bt709", "bt2020": "bt2020nc"}[matrix]
    kind = "pc" if full_range else "tv"
    scale = f"scale=out_color_matrix={matrix}:out_range={kind}:flags=accurate_rnd+full_chroma_int,format={pixels}"
    return ("-vf", scale, "-colorspace", matrix_tag, "-color_range", kind, *LOSSLESS)


def inspect(path: Path) -> Inspection:
    *_, found = inspecting(path)
    assert found is not None
    return found


def corners(frames: np.ndarray) -> np.ndarray:
    """The middle of each quarter: (T, 4, 3)."""
    _, height, width, _ = frames.shape
    quarter = np.ix_(range(len(frames)), (height // 4, 3 * height // 4), (width // 4, 3 * width // 4))
    return frames[quarter].reshape(len(frames), 4, 3).astype(int)


def assert_same(actual: np.ndarray, expected: np.ndarray, tolerance: int = 3) -> None:
    assert actual.shape == expected.shape
    assert np.abs(corners(actual) - corners(expected)).max() <= tolerance


RGB = ("-c:v", "libx264rgb", "-qp", "0")
WRITERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "bt601 limited": ("a.mp4", yuv("bt601", False)),
    "bt601 full": ("a.mp4", yuv("bt601", True)),
    "bt709 limited": ("a.mp4", yuv("bt709", False)),
    "bt709 full": ("a.mp4", yuv("bt709", True)),
    "bt2020 10-bit": ("a.mp4", yuv("bt2020", False, "yuv420p10le")),
    "10-bit 4:2:2": ("a.mkv", yuv("bt709", False, "yuv422p10le")),
    "4:4:4 full": ("a.mkv", yuv("bt709", True, "yuv444p")),
    "12-bit": ("a.mkv", ("-vf", "format=gbrp12le", "-c:v", "ffv1")),
    "rgb": ("a.mp4", RGB),
    "fragmented": ("a.mp4", (*RGB, "-movflags", "frag_keyframe+empty_moov+default_base_moof", "-g", "2")),
    "fragmented without a start": ("a.mp4", (*RGB, "-movflags", "frag_every_frame+empty_moov")),
    "starts at 7 s": ("a.mp4", (*RGB, "-output_ts_offset", "7")),
    "starts at 7 s, mkv": ("a.mkv", (*RGB, "-output_ts_offset", "7")),
    "transport stream": ("a.ts", (*yuv("bt709", False), "-output_ts_offset", "4200")),
    "b-frames": ("a.mp4", (*yuv("bt709", False), "-bf", "3", "-b_strategy", "0")),
    "open gop": ("a.mkv", (*yuv("bt709", False), "-x264-params", "open-gop=1:keyint=3:bframes=2")),
    "avi": ("a.avi", ("-vf", "format=bgr24", "-c:v", "rawvideo")),
    "mpeg-4 in avi": ("a.avi", ("-c:v", "ffvhuff", "-vf", "format=rgb24")),
    "nut": ("a.nut", ("-c:v", "ffv1", "-vf", "format=gbrp")),
    "flv": ("a.flv", yuv("bt709", False)),
    "quicktime rle": ("a.mov", ("-c:v", "qtrle", "-vf", "format=rgb24")),
    "webp": ("a.webp", ("-c:v", "libwebp_anim", "-lossless", "1", "-vf", "format=bgra", "-r", "10")),
    "apng": ("a.png", ("-f", "apng", "-vf", "format=rgb24")),
    "gif": ("a.gif", ("-vf", "split[a][b];[a]palettegen=stats_mode=full[p];[b][p]paletteuse=dither=none")),
    "a leading dash, quotes and 空": ("-a 'b' \"c\" 空.mp4", RGB),
}


@pytest.mark.parametrize(("name", "options"), WRITERS.values(), ids=WRITERS.keys())
def test_every_frame_is_read_in_its_colours(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    path = ffmpeg(tmp_path / name, *options)
    assert_same(read_video(path)[0], FRAMES)
    assert_same(read_video(path, fps=2 * FPS)[0], FRAMES.repeat(2, 0))
    assert_same(read_video(path, fps=FPS, size=(32, 48))[0], FRAMES[:, ::2, ::2])


def test_untagged_colours_are_what_players_assume(tmp_path: Path) -> None:
    for matrix, shape in (("bt601", (1, 480, 720, 3)), ("bt709", (1, 720, 1280, 3))):
        frames = np.full(shape, (200, 40, 90), np.uint8)
        scale = f"scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p"
        path = ffmpeg(tmp_path / f"{matrix}.mkv", "-vf", scale, "-c:v", "ffv1", frames=frames)
        assert_same(read_video(path)[0], frames)


# Presentation times in tenths of a second, of which the last frame lasts one.
VARIABLE = [0, 1, 5, 6, 9, 13]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.nut"])
def test_variable_rate(tmp_path: Path, name: str) -> None:
    times = "+".join(f"eq(N\\,{n})*{tick}" for n, tick in enumerate(VARIABLE))
    path = ffmpeg(tmp_path / name, "-vf", f"setpts=round(({times})/10/TB)", "-fps_mode", "passthrough", *RGB)
    assert_same(read_video(path)[0], FRAMES)
    assert inspect(path).fps is None
    for fps in (10, 16, 3):
        shown = [max(n for n, tick in enumerate(VARIABLE) if tick / 10 <= k / fps) for k in range(13 * fps // 10)]
        assert_same(read_video(path, fps=fps, num_frames=len(shown))[0], FRAMES[shown])
        later, start = read_video(path, fps=fps, start_seconds=0.55, num_frames=1)[0], 2
        assert_same(later, FRAMES[start : start + 1])


@pytest.mark.parametrize(("name", "fps"), [("a.mkv", 16), ("a.mkv", 24), ("a.mkv", 60), ("a.webm", 30), ("a.mp4", 23)])
def test_rounded_times_lose_and_double_no_frame(tmp_path: Path, name: str, fps: int) -> None:
    greys = np.arange(48, dtype=np.uint8) * 5
    frames = np.broadcast_to(greys[:, None, None, None], (48, 16, 16, 3))
    codec = ("-c:v", "libvpx-vp9", "-lossless", "1", "-pix_fmt", "gbrp") if name.endswith("webm") else RGB
    path = ffmpeg(tmp_path / name, *codec, frames=np.ascontiguousarray(frames), fps=fps)
    assert read_video(path, fps=fps)[0][:, 8, 8, 0].tolist() == greys.tolist()


def display(path: Path, *options: str) -> Path:
    return run(*options, "-i", ffmpeg(path.with_name("stored.mp4"), *RGB), "-c", "copy", path)


TURNS = {
    "90": ("-display_rotation", "90"),
    "180": ("-display_rotation", "180"),
    "270": ("-display_rotation", "270"),
    "mirrored": ("-display_hflip",),
    "mirrored, 90": ("-display_rotation", "90", "-display_hflip"),
    "mirrored, 270": ("-display_rotation", "270", "-display_vflip"),
}


@pytest.mark.parametrize("options", TURNS.values(), ids=TURNS.keys())
def test_display_matrix(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = display(tmp_path / "a.mp4", *options)
    upright = run("-i", path, "-c:v", "ffv1", "-pix_fmt", "gbrp", tmp_path / "upright.mkv")
    info, expected = probe_video(path), probe_video(upright)
    assert (info.height, info.width) == (expected.height, expected.width)
    assert_same(read_video(path)[0], read_video(upright)[0])
    assert np.abs(corners(read_video(path)[0]) - corners(FRAMES)).max() > 100


def test_a_turn_a_bit_off(tmp_path: Path) -> None:
    assert_same(read_video(display(tmp_path / "a.mp4", "-display_rotation", "87"))[0], np.rot90(FRAMES, 1, (1, 2)))


@pytest.mark.parametrize("matrix", [bytes(36), b"\x80" + bytes(35), bytes(range(36))])
def test_garbage_in_the_display_matrix(tmp_path: Path, matrix: bytes) -> None:
    path = ffmpeg(tmp_path / "a.mp4", *RGB)
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    assert content[place : place + 4] == b"\0\1\0\0"
    content[place : place + 36] = matrix
    path.write_bytes(content)
    frames, _ = read_video(path)
    assert sorted(frames.shape[1:3]) == [HEIGHT, WIDTH]
    assert len(frames) == NUM_FRAMES


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (33, 1), (17, 33), (2, 1000)])
def test_odd_and_tiny_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = np.full((3, *size, 3), (200, 100, 50), np.uint8)
    for name, options in {
        "a.nut": ("-c:v", "rawvideo", "-pix_fmt", "yuv444p"),
        "b.nut": ("-c:v", "rawvideo", "-pix_fmt", "yuv420p"),
        "c.png": ("-f", "apng"),
    }.items():
        path = ffmpeg(tmp_path / name, *options, frames=frames)
        assert_same(read_video(path)[0], frames)
        assert_same(read_video(path, size=(64, 32))[0], np.full((3, 64, 32, 3), (200, 100, 50)))


@pytest.mark.parametrize(("aspect", "shown"), [("4/3", 128), ("1/2", 48), ("9999/1", 96)])
def test_pixel_aspect(tmp_path: Path, aspect: str, shown: int) -> None:
    path = ffmpeg(tmp_path / "a.mkv", "-vf", f"setsar={aspect}:max=10000", *RGB)
    frames, _ = read_video(path)
    assert frames.shape == (NUM_FRAMES, HEIGHT, shown, 3)
    assert np.abs(corners(frames) - corners(FRAMES)).max() <= 3


def test_interlaced_fields_are_not_woven(tmp_path: Path) -> None:
    fields = np.broadcast_to(np.arange(20, 240, 20, dtype=np.uint8)[:10, None, None, None], (10, 64, 64, 3))
    woven = fields[::2].copy()
    woven[:, 1::2] = fields[1::2, 1::2]
    options = ("-vf", "format=yuv420p,setfield=tff", "-c:v", "ffv1")
    path = ffmpeg(tmp_path / "a.mkv", *options, frames=woven, fps=25)
    assert inspect(path).is_interlaced
    frames, _ = read_video(path)
    assert len(frames) == 5
    assert np.abs(frames[1:-1].astype(int) - fields[2:-2:2]).max() <= 3
    assert np.ptp(frames.astype(int), axis=(1, 2)).max() <= 3


ALPHA = {
    "vp9": ("a.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "4", "-b:v", "0")),
    "vp8": ("a.webm", ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-crf", "4", "-b:v", "5M", "-auto-alt-ref", "0")),
    "ffv1": ("a.mkv", ("-c:v", "ffv1", "-pix_fmt", "yuva444p")),
    "qtrle": ("a.mov", ("-c:v", "qtrle", "-pix_fmt", "argb")),
    "prores": ("a.mov", ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le", "-q:v", "1")),
    "apng": ("a.png", ("-f", "apng", "-pix_fmt", "rgba")),
    "webp": ("a.webp", ("-c:v", "libwebp_anim", "-lossless", "1", "-pix_fmt", "bgra")),
}


@pytest.mark.parametrize(("name", "options"), ALPHA.values(), ids=ALPHA.keys())
def test_alpha_lies_over_black(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    """Left opaque, right half transparent."""
    alpha = "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(lt(X,48),255,128)'"
    scale = "scale=out_color_matrix=bt601:out_range=tv:flags=accurate_rnd+full_chroma_int"
    path = ffmpeg(tmp_path / name, "-vf", f"{alpha},{scale}", *options)
    expected = FRAMES.copy()
    expected[:, :, 48:] = np.rint(FRAMES[:, :, 48:] * (128 / 255)).astype(np.uint8)
    assert_same(read_video(path)[0], expected)


def nits(signal: str, code: float, tmp_path: Path, name: str = "a") -> list[int]:
    """RGB of a flat grey of that signal, in 10 bits."""
    luma = np.full((64, 64), round(64 + 876 * code), "<u2")
    chroma = np.full((64, 64), 512, "<u2")
    raw = ("-f", "rawvideo", "-pix_fmt", "yuv444p10le", "-s", "64x64", "-r", "10", "-i", "-")
    tags = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", signal, "-color_range", "tv")
    setparams = f"setparams=range=tv:colorspace=bt2020nc:color_primaries=bt2020:color_trc={signal}"
    path = run(
        *raw, "-vf", setparams, *LOSSLESS, *tags, tmp_path / f"{name}.mkv", given=b"".join([luma, chroma, chroma])
    )
    assert inspect(path).colour.is_hdr
    return read_video(path)[0][0, 32, 32].tolist()


def test_pq_is_tone_mapped(tmp_path: Path) -> None:
    # BT.2408, table 1: light in cd/m2 and its PQ signal. Dim light is shown as it is: (nits / 203) ** (1 / 2.4).
    assert nits("smpte2084", 0.0, tmp_path) == [0, 0, 0]
    for light, code in ((5, 0.2533), (26, 0.3887), (50, 0.4402)):
        expected = round(255 * (light / 203) ** (1 / 2.4))
        assert nits("smpte2084", code, tmp_path) == pytest.approx([expected] * 3, abs=5)
    white = nits("smpte2084", 0.58, tmp_path)
    assert 190 < white[0] == white[1] == white[2] < 240
    assert min(nits("smpte2084", 0.752, tmp_path)) >= 253  # 1000 cd/m2


def test_hlg_is_tone_mapped(tmp_path: Path) -> None:
    assert nits("arib-std-b67", 0.0, tmp_path) == [0, 0, 0]
    # BT.2408, table 1: 38 % of HLG is the 26 cd/m2 of an 18 % grey card, 75 % the 203 cd/m2 of white.
    assert nits("arib-std-b67", 0.38, tmp_path) == pytest.approx([round(255 * (26 / 203) ** (1 / 2.4))] * 3, abs=5)
    assert nits("arib-std-b67", 0.75, tmp_path) == pytest.approx(nits("smpte2084", 0.58, tmp_path), abs=3)
    assert min(nits("arib-std-b67", 1.0, tmp_path)) >= 253


def test_hdr_hues_stay(tmp_path: Path) -> None:
    """A red of BT.709 of 20 cd/m2, written as BT.2020 (BT.2087, equation 3) and PQ (BT.2100, table 4)."""
    light = 20 * np.array([0.6274, 0.0691, 0.0164]) / 10000
    power = light**0.1593017578125
    signal = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    r, g, b = (np.full((64, 64), round(1023 * each), "<u2") for each in signal)
    raw = ("-f", "rawvideo", "-pix_fmt", "gbrp10le", "-s", "64x64", "-r", "10", "-i", "-")
    setparams = ("-vf", "setparams=range=pc:color_primaries=bt2020:color_trc=smpte2084")
    path = run(*raw, *setparams, "-c:v", "ffv1", tmp_path / "a.mkv", given=b"".join([g, b, r]))
    expected = [round(255 * (20 / 203) ** (1 / 2.4)), 0, 0]
    assert read_video(path)[0][0, 32, 32].tolist() == pytest.approx(expected, abs=5)


def test_no_duration_in_the_header(tmp_path: Path) -> None:
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *raw, *yuv("bt709", False), "-f", "matroska", "-"]
    piped = subprocess.run(command, input=FRAMES.tobytes(), capture_output=True, check=True, timeout=60)
    path = tmp_path / "a.mkv"
    path.write_bytes(piped.stdout)
    assert probe_video(path).duration_seconds is None
    assert_same(read_video(path)[0], FRAMES)


def test_largest_of_several_streams_and_no_cover_art(tmp_path: Path) -> None:
    small = ffmpeg(tmp_path / "small.mp4", *RGB, frames=FRAMES[:, ::2, ::2])
    big = ffmpeg(tmp_path / "big.mp4", *RGB)
    cover = ffmpeg(tmp_path / "cover.png", "-frames:v", "1", frames=np.zeros((1, 256, 256, 3), np.uint8))
    path = run(
        "-i",
        small,
        "-i",
        big,
        "-i",
        cover,
        "-map",
        0,
        "-map",
        1,
        "-map",
        2,
        "-c",
        "copy",
        "-disposition:v:2",
        "attached_pic",
        tmp_path / "a.mp4",
    )
    assert probe_video(path).stream_index == 1
    assert_same(read_video(path)[0], FRAMES)
    sound = ("-f", "lavfi", "-i", "sine=duration=1")
    path = run(
        *sound,
        "-i",
        cover,
        "-map",
        0,
        "-map",
        1,
        "-c:v",
        "copy",
        "-disposition:v:0",
        "attached_pic",
        tmp_path / "b.m4a",
    )
    with pytest.raises(SoraditError, match=r"b\.m4a: holds no video stream \(only sound\)"):
        read_video(path)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_frame_delays_of_animated_pictures(tmp_path: Path, name: str) -> None:
    options = {
        "a.gif": ("-vf", "setpts=N*N/10/TB,split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none"),
        "a.png": ("-vf", "setpts=N*N/10/TB", "-f", "apng"),
        "a.webp": ("-vf", "setpts=N*N/10/TB,format=bgra", "-c:v", "libwebp_anim", "-lossless", "1"),
    }
    path = ffmpeg(tmp_path / name, *options[name], "-fps_mode", "passthrough")
    frames, _ = read_video(path, fps=FPS, num_frames=25)
    assert_same(frames, FRAMES[[int(k**0.5) for k in range(25)]])


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tiff"])
def test_a_still_is_a_clip_of_one_frame(tmp_path: Path, name: str) -> None:
    options = {"a.jpg": ("-q:v", "1", "-pix_fmt", "yuvj444p"), "a.webp": ("-lossless", "1")}.get(name, ())
    path = ffmpeg(tmp_path / name, *options, "-frames:v", "1")
    assert_same(read_video(path)[0], FRAMES[:1])
    assert_same(read_video(path, fps=16)[0][:1], FRAMES[:1])


def test_a_picture_that_changes_its_size_halfway(tmp_path: Path) -> None:
    parts = [
        ffmpeg(tmp_path / "a.ts", *yuv("bt709", False)),
        ffmpeg(tmp_path / "b.ts", *yuv("bt601", True), frames=FRAMES[:, ::2, ::2]),
    ]
    path = tmp_path / "c.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, _ = read_video(path, fps=FPS, size=(32, 48))
    assert_same(frames, np.concatenate([FRAMES[:, ::2, ::2]] * 2))


def test_damage_is_refused_or_used_up_to(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    path = ffmpeg(tmp_path / "a.mp4", *RGB, "-movflags", "faststart", "-g", "5", frames=noise)
    content = path.read_bytes()
    for cut in (0.9, 0.5, 0.3):
        path.write_bytes(content[: round(cut * len(content))])
        with pytest.raises(SoraditError, match=r"a\.mp4: (ends after|damaged|not a readable)"):
            read_video(path)
        reasons: list[str] = []
        kept = np.stack(list(iterate_frames(path, on_damage=reasons.append)))
        assert len(reasons) == 1
        assert 40 * (cut - 0.15) <= len(kept) <= 40 * cut + 1
        np.testing.assert_array_equal(kept, noise[: len(kept)])


def test_a_broken_clock_fills_no_hours(tmp_path: Path) -> None:
    path = ffmpeg(tmp_path / "a.mkv", "-vf", "setpts=N*1000/TB", "-fps_mode", "passthrough", *RGB)
    with pytest.raises(SoraditError, match=r"a\.mkv: damaged: its clock jumps by 1000 s"):
        read_video(path, fps=FPS)
    assert len(list(iterate_frames(path, fps=FPS, on_damage=lambda reason: None))) <= 1


def test_a_huge_header_takes_no_memory(tmp_path: Path) -> None:
    for name, options in {"a.png": (), "a.gif": (), "a.mkv": ("-c:v", "ffv1")}.items():
        path = ffmpeg(tmp_path / name, *options, frames=np.zeros((1, 32, 32, 3), np.uint8))
        content = bytearray(path.read_bytes())
        if name == "a.png":
            content[16:24] = b"\0\0\xff\xff\0\0\xff\xff"
        elif name == "a.gif":
            content[6:10] = b"\xff\xff\xff\xff"
        else:
            place = content.index(b"\xb0\x81\x20\xba\x81\x20")
            content[place : place + 6] = b"\xb0\x82\xff\xff\xba\x81"
        path.write_bytes(content)
        with pytest.raises(SoraditError, match=name):
            read_video(path)
