"""What a video file really holds, found by decoding all of it, beside what its header says."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av

from soradit.media.container import Damaged
from soradit.media.conversion import HDR_TRANSFERS, PRIMARIES, peak_nits_of, transfer_of
from soradit.media.decoding import open_video, reason
from soradit.media.video import VideoInfo, describe, early_seconds

SIGN_OF_LIFE_FRAMES = 16
_RANGES = {1: "tv", 2: "pc"}


@dataclass(frozen=True, kw_only=True)
class Colour:
    """How a file's numbers mean colours; None where it does not say."""

    range: str | None  # "tv" (limited: 16 to 235 of 8 bits) or "pc" (full)
    primaries: str | None
    transfer: str | None
    bit_depth: int
    peak_nits: float | None = None  # the brightest light in cd/m2 that PQ says it was graded for

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
    tick_seconds: float  # of the file's clock
    fps: float | None  # None when the rate varies
    damage: str | None  # why decoding stopped early

    def num_frames_at(self, fps: float) -> int:
        """How many frames ``iterate_frames`` gives at that rate, up to the damage."""
        return math.ceil((self.seconds - early_seconds(self.tick_seconds)) * fps)


def inspecting(path: Path) -> Iterator[Inspection | None]:
    """Decode a whole file, keeping none of it: None from time to time, as a sign of life, and at last the inspection.

    Raises SoraditError when not even its first frame is readable.
    """
    times, damage = [], None
    with open_video(path) as video:
        try:
            for shown in video.frames():
                times.append((shown.begin, shown.end))
                if len(times) % SIGN_OF_LIFE_FRAMES == 0:
                    yield None
        except (Damaged, av.FFmpegError) as error:
            damage = reason(error)
        info, tick = describe(video), video.header.time_base
        yield Inspection(
            info=info,
            colour=_colour(video.first),
            is_interlaced=video.is_interlaced,
            num_frames=len(times),
            seconds=times[-1][1] if times else 0.0,
            tick_seconds=float(tick),
            fps=_constant_rate([round(begin / tick) for begin, _ in times], tick, info.fps),
            damage=damage,
        )


def _colour(frame: av.VideoFrame) -> Colour:
    return Colour(
        range=_RANGES.get(frame.color_range),
        primaries=PRIMARIES.get(frame.color_primaries),
        transfer=transfer_of(frame),
        bit_depth=max(component.bits for component in frame.format.components),
        peak_nits=peak_nits_of(frame),
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
