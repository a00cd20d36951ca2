"""Video files -> frames.

Through imageio's pyav plugin and a chain of ffmpeg filters, always the same way: ``probe_video`` asks av what imageio
does not tell (which stream is the largest, which way is up), and ``_StreamReader`` starts imageio on that stream.
"""

import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import av
import imageio.v3 as iio
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from imageio.core.request import InitializationError
from imageio.plugins.pyav import PyAVPlugin
from jaxtyping import UInt8

from soradit.errors import SoraditError

# Only what holds pictures itself: a playlist or an ffconcat script named clip.mp4 would open other files.
_VIDEO_FORMATS = "mov,matroska,avi,gif,mpegts,mpeg,mpegvideo"
_IMAGE_FORMATS = "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"
_UPRIGHT_FILTERS: dict[int, list[tuple[str, str | dict]]] = {
    0: [],
    90: [("transpose", "clock")],
    180: [("hflip", ""), ("vflip", "")],
    270: [("transpose", "cclock")],
}


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a file says about its largest video stream, before its frames are decoded."""

    width: int  # as seen: upright, and in square pixels
    height: int
    rotation_degrees: int  # the clockwise turn (0, 90, 180, 270) that makes the stored frames upright
    fps: float  # the average, where the rate varies
    duration_seconds: float | None  # None when the file does not say
    num_frames_header: int | None  # None when the file does not say; not always true
    codec: str
    container: str
    stream_index: int  # among the file's video streams
    first_frame_seconds: float  # the presentation time of the first frame, which need not be 0


def probe_video(path: Path) -> VideoInfo:
    """Read a video's headers and its first frame. Raises SoraditError when it is not a readable video."""
    return _probe(path, _VIDEO_FORMATS)


def iterate_frames(
    path: Path, *, fps: float | None = None, size: tuple[int, int] | None = None, start_seconds: float = 0.0
) -> Generator[UInt8[np.ndarray, "H W 3"], None, None]:
    """Yield a video's frames one by one as uint8 RGB (H, W, 3), upright and with square pixels.

    ``fps`` resamples by presentation time, so that variable rates come out right; None gives each stored frame
    once. ``size`` is (height, width): the picture is scaled to cover it and cropped at its centre, without
    distortion; None keeps the size. ``start_seconds`` counts from the first frame.

    Raises SoraditError, also halfway, when the file cannot be read.
    """
    return _frames(path, probe_video(path), _VIDEO_FORMATS, fps=fps, size=size, start_seconds=start_seconds)


def read_video(
    path: Path,
    *,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    start_seconds: float = 0.0,
    num_frames: int | None = None,
) -> tuple[UInt8[np.ndarray, "T H W 3"], float]:
    """Return the frames as uint8 RGB (T, H, W, 3), at most ``num_frames`` of them, and their rate in fps.

    The other parameters are those of ``iterate_frames``. Without ``fps`` the rate is ``VideoInfo.fps``.

    Raises SoraditError when the file cannot be read or holds no frame from ``start_seconds`` on.
    """
    info = probe_video(path)
    stream = _frames(path, info, _VIDEO_FORMATS, fps=fps, size=size, start_seconds=start_seconds)
    with closing(stream):
        frames = list(islice(stream, num_frames))
    if not frames:
        rate = "" if fps is None else f" at {fps:g} fps"
        raise SoraditError(f"{path}: holds no frame from {start_seconds:g} s on{rate}; too short")
    return np.stack(frames), fps or info.fps


def read_image(path: Path, *, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """Return a PNG, JPEG, WebP, BMP or TIFF as uint8 RGB (H, W, 3), covering ``size`` (height, width).

    Raises SoraditError when it is not such an image.
    """
    info = _probe(path, _IMAGE_FORMATS)
    with closing(_frames(path, info, _IMAGE_FORMATS, size=size)) as stream:
        return next(stream)


class _CutOff(Exception):
    """The file ends before its header says."""


class _StreamReader(PyAVPlugin):
    """imageio's reader, which knows only the first video stream from its start, on any stream and from later on."""

    def __init__(self, request: Any, *, info: VideoInfo, seek_seconds: float | None, **kwargs: Any) -> None:
        super().__init__(request, **kwargs)
        assert self._container is not None
        self._video_stream = stream = self._container.streams.video[info.stream_index]
        if seek_seconds is not None:
            self._container.seek(round(seek_seconds / stream.time_base), stream=stream)
        self._decoder = decode_whole(self._container.decode(stream), stream, info.first_frame_seconds)


def decode_whole(
    frames: Iterator[av.VideoFrame], stream: VideoStream, first_frame_seconds: float
) -> Iterator[av.VideoFrame]:
    """Pass frames on and raise _CutOff at an early end, which ffmpeg takes for a shorter video."""
    end_seconds = first_frame_seconds
    for frame in frames:
        if frame.time is not None and frame.time_base is not None:
            end_seconds = max(end_seconds, frame.time + float(frame.duration * frame.time_base))
        yield frame
    seconds, promised_seconds = end_seconds - first_frame_seconds, _stream_seconds(stream)
    if not seconds:  # sought beyond the end: nothing was decoded, so nothing is known
        return
    # Half a second, because headers are rounded and may count frames that an edit list hides.
    if promised_seconds is not None and seconds < promised_seconds - 0.5:
        raise _CutOff(f"ends after {seconds:.2f} s of the {promised_seconds:.2f} s that its header promises")


@contextmanager
def _open_nameless(path: Path) -> Iterator[BinaryIO]:
    """Open a file for ffmpeg to judge by its content: it reads .jpg names as patterns that name other files."""
    with path.open("rb") as file, open(file.fileno(), "rb", closefd=False) as nameless:
        yield nameless


def _open_options(formats: str) -> dict[str, Any]:
    # Tags in an unknown encoding are no reason to refuse the pictures.
    return {"container_options": {"format_whitelist": formats}, "metadata_errors": "replace"}


@contextmanager
def _readable(path: Path, formats: str) -> Iterator[None]:
    """Turn whatever the libraries raise about a file into one SoraditError that names it."""
    try:
        yield
    except (av.FFmpegError, InitializationError, _CutOff) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SoraditError(f"{path}: not a readable file of {formats}, or damaged: {reason}") from error
    except OSError as error:
        raise SoraditError(f"{path}: cannot be opened: {error.strerror}") from error


@contextmanager
def open_video(path: Path, formats: str = _VIDEO_FORMATS) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file, whatever its name says, with its largest video stream.

    Raises SoraditError when it holds none, and for whatever goes wrong inside the ``with`` block.
    """
    with _readable(path, formats), _open_nameless(path) as file, av.open(file, **_open_options(formats)) as container:
        streams = container.streams.video
        if not streams:
            raise SoraditError(f"{path}: holds no video stream (only sound, or cut off?)")
        yield container, max(streams, key=lambda stream: stream.width * stream.height)


def _probe(path: Path, formats: str) -> VideoInfo:
    with open_video(path, formats) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise SoraditError(f"{path}: its video stream holds no frame")
        # av counts degrees counterclockwise.
        rotation_degrees = -90 * round(first.rotation / 90) % 360
        width, height = round(first.width * (stream.sample_aspect_ratio or 1)), first.height
        if rotation_degrees % 180:
            width, height = height, width
        duration_seconds = _stream_seconds(stream)
        if duration_seconds is None and container.duration is not None:
            duration_seconds = container.duration / av.time_base
        return VideoInfo(
            width=width,
            height=height,
            rotation_degrees=rotation_degrees,
            fps=float(_frame_rate(stream)),
            duration_seconds=duration_seconds,
            num_frames_header=stream.frames or None,
            codec=stream.codec_context.codec.canonical_name,
            container=container.format.name,
            stream_index=container.streams.video.index(stream),
            first_frame_seconds=first.time or 0.0,
        )


def _frame_rate(stream: VideoStream) -> Fraction:
    """The lower of ffmpeg's two estimates: where a header errs, it names its clock's ticks (1000) instead."""
    return min((rate for rate in (stream.average_rate, stream.guessed_rate) if rate), default=Fraction(1))


def _stream_seconds(stream: VideoStream) -> float | None:
    """The stream's own duration; its container's may be that of a longer sound track."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Matroska and WebM keep it in a tag.
    tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None


def _frames(
    path: Path,
    info: VideoInfo,
    formats: str,
    *,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    start_seconds: float = 0.0,
) -> Generator[UInt8[np.ndarray, "H W 3"], None, None]:
    start = info.first_frame_seconds + start_seconds
    filters: list[tuple[str, str | dict]] = [
        ("trim", f"start={start}") if fps is None else ("fps", f"fps={fps}:start_time={start}")
    ]
    filters += _UPRIGHT_FILTERS[info.rotation_degrees]
    filters += _covering_filters(info, *(size or (info.height, info.width)))
    # A second early: containers seek by decoding time, which precedes presentation.
    seek_seconds = start - 1 if start_seconds > 1 else None
    with (
        _readable(path, formats),
        _open_nameless(path) as file,
        iio.imopen(
            file,
            "r",
            plugin=_StreamReader,
            info=info,
            seek_seconds=seek_seconds,
            **_open_options(formats),
        ) as reader,
    ):
        yield from reader.iter(filter_sequence=filters, thread_type="FRAME")


def _covering_filters(info: VideoInfo, height: int, width: int) -> list[tuple[str, str | dict]]:
    """Scale to the smallest size that covers height x width, then crop its centre."""
    scale = max(Fraction(height, info.height), Fraction(width, info.width))
    scaled_height, scaled_width = max(height, round(info.height * scale)), max(width, round(info.width * scale))
    return [
        ("scale", f"w={scaled_width}:h={scaled_height}:flags=lanczos+accurate_rnd+full_chroma_inp+full_chroma_int"),
        ("format", "rgb24"),  # before the crop, which in yuv420p would move to even positions
        ("crop", f"w={width}:h={height}:exact=1"),
    ]
