"""A video file -> its decoded frames with the times at which a player shows them, however odd the file is."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.filter import Graph

from soradit.errors import SoraditError
from soradit.media.container import FORMATS, IMAGE_FORMATS, Damaged, Decode, Header, open_container
from soradit.media.conversion import exif_orientation, filter_graph, orientation_of

MAX_SECONDS = 6 * 3600
MAX_FRAMES = 2**21
MAX_FRAME_SECONDS = 600
"""Longer no frame is shown but by a broken clock, which would fill hours with it."""
_MAX_JUMP_SECONDS = 10.0


class Unreadable(SoraditError):
    """A file of which nothing, or nothing more, can be had."""


@dataclass(frozen=True)
class Shown:
    """A frame and when a player shows it, in seconds from the first frame."""

    frame: av.VideoFrame
    begin: float
    end: float


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
        with open_container(path, formats) as (header, decode):
            video = OpenVideo(header, decode)
            if header.container in IMAGE_FORMATS.split(","):
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
    opened = " (PNG, JPEG, WebP, BMP and TIFF are)" if kind == "image" else ""
    why = f"of a kind that is not opened{opened}" if refused else getattr(error, "strerror", None) or error
    return f"not a readable {kind}, or damaged: {why}"
