"""A clip in a mirror: left and right change places, in its frames and in its captions."""

import re
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8

from soradit.media.clips import Clip


def mirror_clip(clip: Clip) -> Clip:
    """The same file, read as its mirror image."""
    return replace(clip, captions=tuple(map(mirror_caption, clip.captions)), mirrored=not clip.mirrored)


def mirror_frames(frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T H W 3"]:
    return np.ascontiguousarray(frames[:, :, ::-1])


def mirror_caption(text: str) -> str:
    """The caption of the clip seen in a mirror: left and right change places, in any case and ending.

    English alone is understood, and not what the words mean: what is "left over" becomes "right over".
    """

    def other(match: re.Match[str]) -> str:
        side = "right" if match[1].lower() == "left" else "left"
        side = side.upper() if match[1].isupper() else side.capitalize() if match[1][0].isupper() else side
        return side + match[2]

    return re.sub(r"\b(left|right)((?:wards?|most)?)\b", other, text, flags=re.IGNORECASE)
