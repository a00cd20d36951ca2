"""What a video file really holds, found by decoding all of it, beside what its header says."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av

from soradit.errors import SoraditError
from soradit.media.video import VideoInfo, decode_whole, open_video, probe_video

# ITU-T H.273, tables 2 and 3, in ffmpeg's words. What is not here is unspecified or rare.
_PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 12: "p3"}
_TRANSFERS = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    13: "srgb",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "pq",
    18: "hlg",
}
_RANGES = {1: "tv", 2: "pc"}
HDR_TRANSFERS = ("pq", "hlg")


@dataclass(frozen=True, kw_only=True)
class Colour:
    """How a file's numbers mean colours; None where it does not say."""

    range: str | None  # "tv" (limited: 16 to 235 of 8 bits) or "pc" (full)
    primaries: str | None
    transfer: str | None
    bit_depth: int

    @property
    def is_hdr(self) -> bool:
        return self.transfer in HDR_TRANSFERS


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A file's largest video stream: its header, and what decoding all of it gave."""

    info: VideoInfo
    colour: Colour
    is_interlaced: bool
    num_frames: int  # that decode, up to the damage if there is any
    seconds: float  # from the first frame to the end of the last
    fps: float | None  # None when the rate varies
    damage: str | None  # why decoding stopped early


def inspect_video(path: Path) -> Inspection:
    """Decode a whole file, keeping none of it. Raises SoraditError when not even its first frame is readable."""
    info = probe_video(path)
    first: av.VideoFrame | None = None
    num_frames, ticks, last_ticks, time_base = 0, [], 0, Fraction(1)
    damage = None
    try:
        with open_video(path) as (container, stream):
            stream.thread_type = "FRAME"
            time_base = stream.time_base or time_base
            for frame in decode_whole(container.decode(stream), stream, info.first_frame_seconds):
                first = first or frame
                num_frames += 1
                if frame.pts is not None:
                    ticks.append(frame.pts)
                    last_ticks = frame.duration
    except SoraditError as error:
        damage = str(error)
    if first is None:
        raise SoraditError(damage or f"{path}: its video stream holds no frame")
    return Inspection(
        info=info,
        colour=_colour(first),
        is_interlaced=bool(first.interlaced_frame),
        num_frames=num_frames,
        seconds=float((max(ticks) - min(ticks) + last_ticks) * time_base) if ticks else 0.0,
        fps=_constant_rate(sorted(ticks), time_base, info.fps),
        damage=damage,
    )


def _colour(frame: av.VideoFrame) -> Colour:
    return Colour(
        range=_RANGES.get(frame.color_range),
        primaries=_PRIMARIES.get(frame.color_primaries),
        transfer=_TRANSFERS.get(frame.color_trc),
        bit_depth=max(component.bits for component in frame.format.components),
    )


def _constant_rate(ticks: list[int], time_base: Fraction, header_fps: float) -> float | None:
    """Frames per second by the presentation times, or None when their distances are not all alike.

    A tenth more or less is a camera's jitter. A whole tick is rounding, unless the ticks count frames.
    """
    if len(ticks) < 2:
        return header_fps
    gap = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
    tolerance = max(gap / 10, 1 if gap > 3 else 0)
    if not gap or any(abs(after - before - gap) > tolerance for before, after in pairwise(ticks)):
        return None
    fps = float(1 / (gap * time_base))
    return header_fps if abs(fps / header_fps - 1) < 0.01 else fps  # the header's is free of rounded times
