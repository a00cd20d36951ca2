"""What is read of a clip to train on: its frames in segments, at one rate, in the shape of its bucket."""

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from soradit.errors import SoraditError
from soradit.media.inspection import SIGN_OF_LIFE_FRAMES, Inspection, inspecting
from soradit.media.video import VideoInfo, iterate_frames, probe_video, read_video
from soradit.media.writing import encode_jpeg

THUMBNAIL_PIXELS = 192
"""The longer side of a picture on the sheet."""
STILLS_REMEDY = "stills are taken with --buckets"


class TooShort(SoraditError):
    """A clip with fewer frames than a token covers: of no use, but no sign of trouble either."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How clips are read: everything that decides which pixels training sees of a file."""

    height: int
    width: int
    fps: int
    token_size: tuple[int, int, int]  # frames, height, width
    max_segment_frames: int  # a multiple of a token's: longer clips are cut, to bound memory
    buckets: bool = False  # each clip in the shape, of about height x width pixels, that is closest to its own
    keep_damaged: bool = False  # use clips up to their damage, instead of not at all

    def size(self, info: VideoInfo) -> tuple[int, int]:
        """Height and width that a clip is read at."""
        if not self.buckets:
            return self.height, self.width
        return bucket_size(info.height / info.width, self.height * self.width, self.token_size[1:])

    def drawn_from(self, num_frames: int, window_frames: int) -> list[int]:
        """The lengths of the segments that windows of so many frames are drawn from; with buckets, shorter ones too."""
        return [length for length in self.cut(num_frames) if self.buckets or length >= window_frames]

    def cut(self, num_frames: int) -> list[int]:
        """The lengths of a clip's segments: whole tokens; what is left over at the end is trimmed.

        With buckets, a single frame (a still) is held for a token's length.
        """
        token_frames = self.token_size[0]
        if self.buckets and num_frames == 1:
            return [token_frames]
        full, rest = divmod(num_frames, self.max_segment_frames)
        rest -= rest % token_frames
        return [self.max_segment_frames] * full + ([rest] if rest else [])


def bucket_size(aspect: float, area: int, unit: tuple[int, int]) -> tuple[int, int]:
    """The height and width, in whole units, of about ``area`` pixels whose ratio is closest to ``aspect``.

    NovelAI's aspect ratio bucketing: a row of shapes, one a width, each as high as the area allows.
    """
    unit_height, unit_width = unit
    units = area // (unit_height * unit_width)
    shapes = {(max(1, units // w), w) for w in range(1, units + 1)} | {
        (h, max(1, units // h)) for h in range(1, units + 1)
    }
    shapes = {(h, w) for h, w in shapes if h * w > 0.8 * units}

    def distance(shape: tuple[int, int]) -> tuple[float, int]:
        return abs(math.log(shape[0] * unit_height / (shape[1] * unit_width) / aspect)), -shape[0] * shape[1]

    h, w = min(sorted(shapes), key=distance)
    return h * unit_height, w * unit_width


def read_segments(path: Path, reading: Reading) -> Iterator[UInt8[np.ndarray, "T H W 3"] | str | None]:
    """A clip's segments one by one, and where it is damaged, why, as text; None from time to time, as a sign of life.

    A segment is good until the next one is asked for. Raises SoraditError when the clip can't be read, TooShort when it
    holds no segment.
    """
    damage: list[str] = []
    size = reading.size(probe_video(path))
    on_damage = damage.append if reading.keep_damaged else None
    frames = np.empty((reading.max_segment_frames, *size, 3), np.uint8)
    num_frames = filled = 0
    with closing(iterate_frames(path, fps=reading.fps, size=size, on_damage=on_damage)) as stream:
        for frame in stream:
            frames[filled] = frame
            num_frames, filled = num_frames + 1, filled + 1
            if filled == len(frames):
                yield frames
                filled = 0
            elif num_frames % SIGN_OF_LIFE_FRAMES == 0:
                yield None
    lengths = reading.cut(num_frames)
    if not lengths:
        least = reading.token_size[0]
        found, remedy = ("1 frame", f": {STILLS_REMEDY}") if num_frames == 1 else (f"{num_frames} frames", "")
        raise TooShort(f"{path} has {found} at {reading.fps} fps, {least} are the least{remedy}")
    if num_frames == 1:
        frames[1:] = frames[0]
    if rest := lengths[-1] % reading.max_segment_frames:
        yield frames[:rest]
    yield from damage


def look_at(path: Path, reading: Reading, *, thumbnails: bool) -> Iterator[Inspection | list[bytes] | None]:
    """What a clip is, by decoding all of it, then JPEGs of it as training would crop it; signs of life between.

    The pictures are of the first frame, and with ``thumbnails``, smaller, of the middle one too. Raises SoraditError
    when not even the first frame can be read.
    """
    found = None
    for each in inspecting(path):
        found = each or found
        yield each
    assert found is not None
    height, width = reading.size(found.info)
    scale = min(1.0, THUMBNAIL_PIXELS / max(height, width)) if thumbnails else 1.0
    size = max(1, round(height * scale)), max(1, round(width * scale))
    seconds = [0.0, found.seconds / 2] if thumbnails and found.num_frames > 1 else [0.0]
    frames = [read_video(path, fps=1, size=size, start_seconds=second, num_frames=1)[0][0] for second in seconds]
    yield [encode_jpeg(frame) for frame in frames]
