"""A file -> what its header says, and its frames with the clock that it gives them; it can open no other file."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import av
import imageio.v3 as iio
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from imageio.core.v3_plugin_api import PluginV3
from imageio.plugins.pyav import PyAVPlugin

from soradit.media.animation import animation_size
from soradit.media.webp import MAX_BYTES, animation_rate, decode_webp, unhurried

# Only what holds pictures itself: a playlist or an ffconcat script named clip.mp4 would open other files.
IMAGE_FORMATS = "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"
FORMATS = f"mov,matroska,avi,gif,apng,webp,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,nut,ivf,dv,{IMAGE_FORMATS}"
MAX_PIXELS = 2**25
"""The most of a frame: 8K (7680x4320) and no more, so that a header of 65535x65535 takes no memory."""
MAX_PIXEL_ASPECT = 10
# Their clocks may jump: where captures were joined, or when 33 bits overflow.
_JUMPING_FORMATS = ("mpegts", "mpeg")
# No header says how long they are: ffmpeg guesses, by their last clock.
_FORMATS_WITHOUT_DURATION = (*_JUMPING_FORMATS, "ogg")
# ffmpeg's own decoders leave out the alpha that WebM carries beside the picture.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class Damaged(Exception):
    """The rest of the file is of no use."""


Decode = Callable[[float | None], Iterator[av.VideoFrame]]
"""Frames in the order of presentation, from the first or from a keyframe before that many of the file's seconds."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says about its largest video stream."""

    container: str
    codec: str
    time_base: Fraction  # seconds a tick of its clock
    frame_rate: Fraction
    pixel_aspect: Fraction  # a stored pixel's width over its height
    num_frames: int | None
    seconds: float | None = None  # the stream's own duration
    container_seconds: float | None = None  # which may be that of a longer sound track
    stream_index: int = 0  # among the file's video streams
    tags: Mapping[str, str] = field(default_factory=dict)  # title, comment and such

    @property
    def may_jump(self) -> bool:
        """Transport streams begin and end in the middle of things, and their clocks jump."""
        return self.container in _JUMPING_FORMATS

    @property
    def is_seekable(self) -> bool:
        """Whether its frames' times can be sought."""
        return self.container not in (*_JUMPING_FORMATS, "gif", "webp")


@contextmanager
def open_container(path: Path, formats: str = FORMATS) -> Iterator[tuple[Header, Decode]]:
    """Open a file, whatever its name says, at its largest video stream.

    Raises Damaged, av.FFmpegError or OSError, as decoding does.
    """
    with _nameless(path) as file:
        if not path.stat().st_size:
            raise Damaged("not a readable file: it is empty")
        if size := animation_size(file):
            if "webp" not in formats.split(","):
                raise Damaged("is animated, not a still image")
            yield _webp_header(path, file, *size), lambda _: _decode_webp(file)
        else:
            with _opened(file, formats) as container:
                stream = _largest_stream(container)
                header = _header(container, stream)
                yield header, partial(_decode, container, stream, header)


@contextmanager
def _nameless(path: Path) -> Iterator[BinaryIO]:
    """Open a file for ffmpeg to judge by its content: it reads .jpg names as patterns that name other files."""
    with path.open("rb") as file, open(file.fileno(), "rb", closefd=False) as nameless:
        yield nameless


class _Opener(PyAVPlugin):
    """imageio's reader, of which only the container is used: it knows only the first stream, and no odd frames."""

    def __init__(self, request: Any, **options: Any) -> None:
        PluginV3.__init__(self, request)
        self.options = options

    def open(self) -> InputContainer:
        return av.open(self.request.get_file(), **self.options)

    def close(self) -> None:
        self.request.finish()  # without the collection of garbage that imageio starts here, after every clip


@contextmanager
def _opened(file: BinaryIO, formats: str) -> Iterator[InputContainer]:
    options: dict[str, Any] = {
        "container_options": {"format_whitelist": formats},
        "options": {"max_pixels": str(MAX_PIXELS)},
        "metadata_errors": "replace",  # tags in an unknown encoding are no reason to refuse the pictures
        "io_open": _open_nothing_else,
    }
    with iio.imopen(file, "r", plugin=_Opener, **options) as opener, opener.open() as container:
        yield container


def _open_nothing_else(url: str, flags: int, options: dict) -> None:
    raise PermissionError(f"names another file, {url}")


def _largest_stream(container: InputContainer) -> VideoStream:
    """Cover art is no video."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        what = "only sound" if container.streams.audio else "cut off?"
        raise Damaged(f"holds no video stream ({what})")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise Damaged("its video is of a kind that ffmpeg does not know, or damaged")
    return max(known, key=lambda stream: stream.width * stream.height)


def _webp_header(path: Path, file: BinaryIO, width: int, height: int) -> Header:
    if width * height > MAX_PIXELS:
        raise Damaged(f"{width}x{height} are more than {MAX_PIXELS} pixels")
    if path.stat().st_size > MAX_BYTES:
        raise Damaged(f"is longer than an animated WebP's {MAX_BYTES // 2**20} MB: convert it to MP4")
    return Header(
        container="webp",
        codec="webp",
        time_base=Fraction(1, 1000),
        frame_rate=animation_rate(file),
        pixel_aspect=Fraction(1),
        num_frames=None,
    )


def _decode_webp(file: BinaryIO) -> Iterator[av.VideoFrame]:
    try:
        file.seek(0)
        yield from unhurried(decode_webp(file))
    except OSError as error:
        raise Damaged(f"damaged: {error}") from error


def _header(container: InputContainer, stream: VideoStream) -> Header:
    # The lower of ffmpeg's two estimates: where a header errs, it names its clock's ticks (1000) instead.
    rates = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate]
    aspect = stream.sample_aspect_ratio or Fraction(1)
    is_guessed = container.format.name in _FORMATS_WITHOUT_DURATION
    return Header(
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        stream_index=container.streams.video.index(stream),
        time_base=stream.time_base or Fraction(1, 1000),
        frame_rate=min(rates, default=Fraction(25)),
        pixel_aspect=aspect if max(aspect, 1 / aspect) <= MAX_PIXEL_ASPECT else Fraction(1),
        num_frames=stream.frames or None,
        seconds=None if is_guessed else _stream_seconds(stream),
        tags=dict(container.metadata),
        container_seconds=None if is_guessed or container.duration is None else container.duration / av.time_base,
    )


def _stream_seconds(stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))  # in Matroska and WebM
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None


def _decode(
    container: InputContainer, stream: VideoStream, header: Header, seek_seconds: float | None
) -> Iterator[av.VideoFrame]:
    if seek_seconds is None:
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.thread_type = "FRAME"
    else:
        container.seek(round(seek_seconds / (stream.time_base or 1)), stream=stream)
    frames = _decode_packets(container, stream, header)
    return unhurried(frames) if header.container == "gif" else frames


def _decode_packets(container: InputContainer, stream: VideoStream, header: Header) -> Iterator[av.VideoFrame]:
    decode = _decoder(stream)
    for packet in container.demux(stream):
        if packet.is_corrupt and not header.may_jump:
            raise Damaged("damaged: cut off inside a frame")
        if packet.size or packet.dts is None:  # one without content goes on showing the frame before; the last one ends
            yield from decode(packet)


def _decoder(stream: VideoStream) -> Callable[[av.Packet], list[av.VideoFrame]]:
    name = _ALPHA_DECODERS.get(stream.codec_context.codec.canonical_name)
    if stream.metadata.get("alpha_mode") != "1" or name is None or name not in av.codecs_available:
        return stream.decode
    decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.options = stream.codec_context.options
    return decoder.decode
