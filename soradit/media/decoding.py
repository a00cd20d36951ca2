"""A video file -> its decoded frames with the times at which a player shows them, however odd the file is."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import av
import imageio.v3 as iio
from av.container import InputContainer
from av.filter import Graph
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from imageio.core.v3_plugin_api import PluginV3
from imageio.plugins.pyav import PyAVPlugin

from soradit.errors import SoraditError
from soradit.media.conversion import exif_orientation, filter_graph, orientation_of
from soradit.media.webp import MAX_BYTES, animation_size, decode_webp, unhurried

# Only what holds pictures itself: a playlist or an ffconcat script named clip.mp4 would open other files.
IMAGE_FORMATS = "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"
FORMATS = f"mov,matroska,avi,gif,apng,webp,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,nut,ivf,dv,{IMAGE_FORMATS}"
MAX_PIXELS = 2**25
"""Of a frame: 8K (7680x4320) and no more, so that a header of 65535x65535 takes no memory."""
MAX_SECONDS = 6 * 3600
MAX_FRAMES = 2**21
MAX_FRAME_SECONDS = 600
"""Longer no frame is shown but by a broken clock, which would fill hours with it."""
MAX_PIXEL_ASPECT = 10
# Their clocks may jump: where captures were joined, or when 33 bits overflow.
_JUMPING_FORMATS = ("mpegts", "mpeg")
# No header says how long they are: ffmpeg guesses, by their last clock.
_FORMATS_WITHOUT_DURATION = (*_JUMPING_FORMATS, "ogg")
_MAX_JUMP_SECONDS = 10.0
# ffmpeg's own decoders leave out the alpha that WebM carries beside the picture.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class Unreadable(SoraditError):
    """A file of which nothing, or nothing more, can be had."""


class Damaged(Exception):
    """The rest of the file is of no use."""


Decode = Callable[[float | None], Iterator[av.VideoFrame]]
"""Frames in the order of presentation, from the first or from a keyframe before that many of the file's seconds."""


@dataclass(frozen=True)
class Shown:
    """A frame and when a player shows it, in seconds from the first frame."""

    frame: av.VideoFrame
    begin: float
    end: float


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


class OpenVideo:
    """An open file, decoded as far as the first frame."""

    def __init__(self, header: Header, decode: Decode) -> None:
        """Raises Damaged when the file holds no frame."""
        self.header = header
        self._decode = decode
        self._frames = decode(None)
        first = next(self._frames, None)
        if first is None:
            raise Damaged("its video stream holds no frame")
        self.first = first
        self.orientation = orientation_of(first)
        self.is_interlaced = False  # what has been decoded so far
        self.first_frame_seconds = first.time or 0.0

    @property
    def promised_seconds(self) -> float | None:
        """From the first frame to the end, by the header. Matroska counts from its clock's zero instead."""
        seconds = self.header.seconds
        from_zero = self.header.container.startswith("matroska")
        return seconds - self.first_frame_seconds if seconds is not None and from_zero else seconds

    def frames(self, *, start_seconds: float = 0.0) -> Iterator[Shown]:
        """Frames from the first, or for a later start from somewhere before it; once.

        Raises Damaged, halfway too, where the file can't be decoded or ends before its header says.
        """
        frames: Iterator[av.VideoFrame] = chain([self.first], self._frames)
        # A second early: containers seek by decoding time, which precedes presentation.
        if start_seconds > 2 and self.header.is_seekable:
            frames = self._decode(self.first_frame_seconds + start_seconds - 1)
        end_seconds = 0.0
        for shown in _timed(self._deinterlaced(frames), self):
            end_seconds = shown.end
            yield shown
        # Half a second, because headers are rounded and may count frames that an edit list hides.
        promised_seconds = self.promised_seconds
        if end_seconds and promised_seconds is not None and end_seconds < promised_seconds - 0.5:
            raise Damaged(f"ends after {end_seconds:.2f} s of the {promised_seconds:.2f} s that its header promises")

    def _deinterlaced(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """A frame a frame: from the first interlaced one on, through ffmpeg's bwdif, which leaves the others alone."""
        graph, kind = None, None
        for frame in frames:
            self.is_interlaced |= bool(frame.interlaced_frame)
            if not self.is_interlaced:
                yield frame
                continue
            this_kind = (frame.width, frame.height, frame.format.name)
            if graph is None or this_kind != kind:
                yield from _drain(graph)
                graph, kind = filter_graph(frame, [("bwdif", "mode=send_frame:deint=interlaced")]), this_kind
            graph.vpush(frame)
            yield from _pull(graph)
        yield from _drain(graph)


def _timed(frames: Iterator[av.VideoFrame], video: OpenVideo) -> Iterator[Shown]:
    """Each frame is shown until the next one; where the clock jumps, it goes on without a gap."""
    may_jump = video.header.may_jump
    offset = -video.first_frame_seconds
    last: Shown | None = None  # with the end that it has by itself
    for count, frame in enumerate(frames):
        begin = last.end if last else 0.0
        if frame.time is not None:
            jump = last is not None and not 0 <= frame.time + offset - last.begin <= _MAX_JUMP_SECONDS
            if may_jump and jump:
                offset = begin - frame.time
            begin = frame.time + offset
        if last:
            begin = max(begin, last.begin)
            if begin - last.begin > MAX_FRAME_SECONDS:
                raise Damaged(f"damaged: its clock jumps by {begin - last.begin:.0f} s")
            yield Shown(last.frame, last.begin, begin)
        if begin > MAX_SECONDS or count > MAX_FRAMES:
            raise Damaged(f"is longer than {MAX_SECONDS // 3600} hours or {MAX_FRAMES} frames: cut it into clips")
        last = Shown(frame, begin, begin + _own_seconds(frame, video.header.frame_rate))
    if last:
        yield last


def _own_seconds(frame: av.VideoFrame, frame_rate: Fraction) -> float:
    """How long a frame lasts by itself, where no next one ends it."""
    seconds = float(frame.duration * (frame.time_base or 0))
    return seconds if 0 < seconds <= MAX_FRAME_SECONDS else min(float(1 / frame_rate), MAX_FRAME_SECONDS)


def _drain(graph: Graph | None) -> Iterator[av.VideoFrame]:
    if graph is not None:
        graph.vpush(None)
        yield from _pull(graph)


def _pull(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (BlockingIOError, EOFError):
            return


@contextmanager
def open_video(path: Path, formats: str = FORMATS) -> Iterator[OpenVideo]:
    """Open a file, whatever its name says, at its largest video stream.

    Raises Unreadable, with one line that names the file, for whatever goes wrong in the ``with`` block too.
    """
    try:
        with _nameless(path) as file:
            if not path.stat().st_size:
                raise Damaged("not a readable file: it is empty")
            if size := animation_size(file):
                yield OpenVideo(_webp_header(path, *size), lambda _: _decode_webp(file))
            else:
                with _opened(file, formats) as container:
                    stream = _largest_stream(container)
                    video = OpenVideo(_header(container, stream), partial(_decode, container, stream))
                    if container.format.name in IMAGE_FORMATS.split(","):
                        video.orientation = exif_orientation(path)
                    yield video
    except (Damaged, av.FFmpegError) as error:
        raise Unreadable(f"{path}: {reason(error, 'image' if formats == IMAGE_FORMATS else 'video')}") from error
    except OSError as error:
        raise Unreadable(f"{path}: cannot be opened: {error.strerror or error}") from error


def reason(error: Exception, kind: str = "video") -> str:
    """Why a file can't be read, or not to its end, in words."""
    if isinstance(error, Damaged):
        return str(error)
    refused = isinstance(error, av.ArgumentError)  # by the white list
    why = "of a kind that is not opened" if refused else getattr(error, "strerror", None) or error
    return f"not a readable {kind}, or damaged: {why}"


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


def _webp_header(path: Path, width: int, height: int) -> Header:
    if width * height > MAX_PIXELS:
        raise Damaged(f"{width}x{height} are more than {MAX_PIXELS} pixels")
    if path.stat().st_size > MAX_BYTES:
        raise Damaged(f"is longer than an animated WebP's {MAX_BYTES // 2**20} MB: convert it to MP4")
    one = Fraction(1)
    return Header(
        container="webp", codec="webp", time_base=one / 1000, frame_rate=10 * one, pixel_aspect=one, num_frames=None
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


def _decode(container: InputContainer, stream: VideoStream, seek_seconds: float | None) -> Iterator[av.VideoFrame]:
    if seek_seconds is None:
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.thread_type = "FRAME"
    else:
        container.seek(round(seek_seconds / (stream.time_base or 1)), stream=stream)
    frames = _decode_packets(container, stream)
    return unhurried(frames) if container.format.name == "gif" else frames


def _decode_packets(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    decode = _decoder(stream)
    for packet in container.demux(stream):
        if packet.is_corrupt and container.format.name not in _JUMPING_FORMATS:
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
