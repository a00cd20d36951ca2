"""Video files -> frames: step 1. What a player shows, as RGB.

``decoding`` opens a file with imageio and gives its frames their times, ``conversion`` turns each into RGB.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count, islice, takewhile
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from soradit.errors import SoraditError
from soradit.files import FIRST_FRAME, frame_name
from soradit.media.container import FORMATS, IMAGE_FORMATS, Damaged
from soradit.media.conversion import Converter, peak_nits_of
from soradit.media.decoding import OpenVideo, Shown, open_video, reason

ROUNDED_SECONDS = 0.0005
"""Containers round times, Matroska to milliseconds."""


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
    with open_video(path) as video:
        return describe(video)


def iterate_frames(
    path: Path,
    *,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    start_seconds: float = 0.0,
    on_damage: Callable[[str], None] | None = None,
    formats: str = FORMATS,
) -> Generator[UInt8[np.ndarray, "H W 3"], None, None]:
    """Yield a video's frames one by one as uint8 RGB (H, W, 3), upright and with square pixels.

    With ``fps``, frame n is the one that a player shows at second ``start_seconds + n / fps`` from the first frame,
    so that variable rates come out right; None gives each stored frame once. ``size`` is (height, width): the picture
    is scaled to cover it and cropped at its centre, without distortion; None keeps the size.

    Where a file is damaged after its first frame, ``on_damage`` is told why and the frames end; without it, and
    where there is no first frame, this raises SoraditError. ``formats`` are ffmpeg's names of those that may be opened.
    """
    with open_video(path, formats) as video:
        info = describe(video)
        height, width = size or (info.height, info.width)
        convert = Converter(
            height=height,
            width=width,
            pixel_aspect=video.header.pixel_aspect,
            orientation=video.orientation,
            peak_nits=peak_nits_of(video.first),
        )
        shown = _until_damage(video.frames(start_seconds=start_seconds), on_damage)
        for frame, times in _sampled(shown, fps, start_seconds, early_seconds(float(video.header.time_base))):
            picture = convert(frame)
            for _ in range(times):
                yield picture


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
    with closing(iterate_frames(path, fps=fps, size=size, start_seconds=start_seconds)) as stream:
        frames = list(islice(stream, num_frames))
    if not frames:
        rate = "" if fps is None else f" at {fps:g} fps"
        raise SoraditError(f"{path}: holds no frame from {start_seconds:g} s on{rate}; too short")
    return np.stack(frames), fps or probe_video(path).fps


def read_image(path: Path, *, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """Return a PNG, JPEG, WebP, BMP or TIFF as uint8 RGB (H, W, 3), covering ``size`` (height, width).

    Raises SoraditError when it is not such an image.
    """
    with closing(iterate_frames(path, size=size, formats=IMAGE_FORMATS)) as frames:
        return next(frames)


def read_folder(folder: Path, *, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "T H W 3"]:
    """Return a folder of frames, 0000.png, 0001.png, ..., as uint8 RGB (T, H, W, 3); ``size`` as for ``read_image``.

    Raises SoraditError when the first is missing, or one is no image.
    """
    paths = takewhile(Path.is_file, (folder / frame_name(index) for index in count()))
    if not (frames := [read_image(path, size=size) for path in paths]):
        raise SoraditError(f"{folder}: holds no {FIRST_FRAME}")
    return np.stack(frames)


def early_seconds(tick_seconds: float) -> float:
    """How much earlier than it says a frame may be shown: as its time may have been rounded, and a little more."""
    return min(ROUNDED_SECONDS, tick_seconds / 2) + 1e-6


def describe(video: OpenVideo) -> VideoInfo:
    header, first = video.header, video.first
    rotation_degrees = video.orientation.rotation_degrees
    width, height = max(1, round(first.width * header.pixel_aspect)), first.height
    if rotation_degrees % 180:
        width, height = height, width
    return VideoInfo(
        width=width,
        height=height,
        rotation_degrees=rotation_degrees,
        fps=float(header.frame_rate),
        duration_seconds=header.container_seconds if header.seconds is None else video.promised_seconds,
        num_frames_header=header.num_frames,
        codec=header.codec,
        container=header.container,
        stream_index=header.stream_index,
        first_frame_seconds=video.first_frame_seconds,
    )


def _until_damage(shown: Iterator[Shown], on_damage: Callable[[str], None] | None) -> Iterator[Shown]:
    try:
        yield from shown
    except (Damaged, av.FFmpegError) as error:
        if on_damage is None:
            raise
        on_damage(reason(error))


def _sampled(
    shown: Iterable[Shown], fps: float | None, start_seconds: float, early_seconds: float
) -> Iterator[tuple[av.VideoFrame, int]]:
    """Frames that are seen, each with the number of samples that show it."""
    num_samples = 0
    for each in shown:
        if fps is None:
            times = int(each.begin > start_seconds - early_seconds)
        else:
            times = 0
            while start_seconds + (num_samples + times) / fps < each.end - early_seconds:
                times += 1
        num_samples += times
        if times:
            yield each.frame, times
