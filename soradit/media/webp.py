"""Animated WebP, which ffmpeg does not decode, but Pillow does; and how long browsers show its frames, and GIF's."""

from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
from PIL import Image

_MILLISECOND = Fraction(1, 1000)
MAX_BYTES = 2**27
"""Pillow takes twice a file's length of memory."""
HASTY_SECONDS, UNHURRIED_SECONDS = Fraction(1, 100), Fraction(1, 10)
"""A delay of no more than the first, in a GIF or WebP, is the second one in every browser."""


def animation_rate(file: BinaryIO) -> Fraction:
    """Frames per second of an animated WebP, on average, by its frames' own headers (RFC 9649, section 2.7.1.1)."""
    delays = []
    file.seek(12)
    while len(chunk := file.read(8)) == 8:
        length = int.from_bytes(chunk[4:], "little")
        beyond = file.tell() + length + length % 2
        if chunk[:4] == b"ANMF":
            seconds = int.from_bytes(file.read(16)[12:15], "little") * _MILLISECOND
            delays.append(seconds if seconds > HASTY_SECONDS else UNHURRIED_SECONDS)
        file.seek(beyond)
    return len(delays) / sum(delays, Fraction()) if delays else 1 / UNHURRIED_SECONDS


def decode_webp(file: BinaryIO) -> Iterator[av.VideoFrame]:
    """RGBA frames, with times in milliseconds. Raises OSError where the file is damaged."""
    milliseconds = 0
    with Image.open(file, formats=["WEBP"]) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            frame = av.VideoFrame.from_ndarray(np.asarray(image.convert("RGBA")), format="rgba")
            frame.pts, frame.time_base = milliseconds, _MILLISECOND
            frame.duration = image.info.get("duration", 0)
            milliseconds += frame.duration
            yield frame


def unhurried(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Frames of a GIF or WebP with the times at which browsers show them."""
    delay = 0
    for frame in frames:
        tick = frame.time_base or _MILLISECOND
        frame.pts = (frame.pts or 0) + delay
        if frame.duration * tick <= HASTY_SECONDS:
            unhurried_ticks = round(UNHURRIED_SECONDS / tick)
            delay += unhurried_ticks - frame.duration
            frame.duration = unhurried_ticks
        yield frame
