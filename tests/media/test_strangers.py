"""Files made to harm: none crashes, hangs, opens another file or takes memory that its pictures don't need."""

import ctypes
import os
import random
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_reading import FRAMES, RGB, ffmpeg, yuv

from soradit.errors import SoraditError
from soradit.media.reading import Reading, look_at, read_segments
from soradit.media.workers import read_ahead

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches files with inotify")
IN_OPEN = 0x20

READING = Reading(height=32, width=32, fps=16, token_size=(4, 32, 32), max_segment_frames=128, keep_damaged=True)
SEEDS = {
    "a.mp4": RGB,
    "b.mkv": ("-c:v", "ffv1", "-vf", "format=yuv420p"),
    "c.avi": ("-c:v", "mpeg4", "-q:v", "2"),
    "d.gif": (),
    "e.png": ("-f", "apng"),
    "f.webp": ("-vf", "format=bgra", "-c:v", "libwebp_anim", "-lossless", "1"),
    "g.ts": yuv("bt709", False),
    "h.mov": ("-c:v", "qtrle"),
    "i.webm": ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"),
    "j.flv": yuv("bt601", True),
    "k.jpg": ("-frames:v", "1"),
    "l.mp4": ("-c:v", "mpeg4", "-movflags", "frag_every_frame+empty_moov"),
}


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, cut out, doubled, cut off, or made extreme, which sizes and counts are hit by too."""
    out = bytearray(content)
    for _ in range(draw.choice((1, 2, 8, 40))):
        place = draw.randrange(len(out))
        kind = draw.randrange(5)
        if kind == 0:
            out[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            out[place : place + 4] = draw.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
        elif kind == 2 and len(out) > 64:
            del out[place : place + draw.randrange(1, 33)]
        elif kind == 3:
            out[place:place] = out[place : place + draw.randrange(1, 65)]
        elif len(out) > 64 and draw.random() < 0.2:
            del out[max(32, place) :]
    return bytes(out)


def read(path: Path) -> Iterator[str | float | None]:
    """Read a file as ``check`` and ``encode`` do: words for what came of it, then the most megabytes taken."""
    for job in (look_at(path, READING, thumbnails=True), read_segments(path, READING)):
        try:
            for value in job:
                yield None if value is None else "some"
        except SoraditError as error:
            yield "refused" if str(path) in str(error) else f"refused without its name: {error}"
    yield resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], bool]]:
    """Whether any process has opened ``tmp_path / "secret.mp4"``, by Linux's inotify(7)."""
    secret = ffmpeg(tmp_path / "secret.mp4", *RGB)
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(watch, os.fsencode(secret), IN_OPEN) >= 0

    def was_opened() -> bool:
        try:
            return bool(os.read(watch, 4096))
        except BlockingIOError:
            return False

    yield was_opened
    os.close(watch)


def test_the_watch_sees_an_opening(tmp_path: Path, opened: Callable[[], bool]) -> None:
    assert not opened()
    (tmp_path / "secret.mp4").read_bytes()
    assert opened()


def fuzz(folder: Path, count: int) -> None:
    folder.mkdir()
    seeds = [
        ffmpeg(folder / name, *options, frames=FRAMES[:, ::2, ::2]).read_bytes() for name, options in SEEDS.items()
    ]
    draw = random.Random(0)
    paths = [folder / f"{index}.mp4" for index in range(count)]
    for index, path in enumerate(paths):
        path.write_bytes(damaged(seeds[index % len(seeds)], draw))
    used = 0
    for results in read_ahead(read, ((path,) for path in paths)):
        *outcomes, peak_megabytes = list(results)  # raises where a decoder crashes or hangs
        assert set(outcomes) <= {"some", "refused"}
        assert peak_megabytes < 1500
        used += "some" in outcomes
    assert used > count // 10  # it is not all thrown out at the door


def test_a_hundred_damaged_files(tmp_path: Path, opened: Callable[[], bool]) -> None:
    fuzz(tmp_path / "clips", 100)
    assert not opened()


@pytest.mark.slow
def test_two_thousand_damaged_files(tmp_path: Path, opened: Callable[[], bool]) -> None:
    fuzz(tmp_path / "clips", 2000)
    assert not opened()


DASH = "<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><Period><BaseURL>{}</BaseURL></Period></MPD>"
SCRIPTS = {
    "ffconcat": "ffconcat version 1.0\nfile '{}'\n",
    "playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
    "dash": f"<?xml version='1.0'?>{DASH}",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nm=video 5004 RTP/AVP 96\n",
    "svg": "<svg xmlns='http://www.w3.org/2000/svg'><image href='{}'/></svg>",
}


@pytest.mark.parametrize("name", ["secret.mp4", "../secret.mp4", "file:{}", "{}"])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_scripts_open_nothing(tmp_path: Path, opened: Callable[[], bool], script: str, name: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text(script.format(name.format(tmp_path / "secret.mp4")))
    *outcomes, _ = filter(None, read(path))
    assert set(outcomes) == {"refused"}
    assert not opened()
