"""Numbers of a clip that need no network: how much it moves, how steadily, how finely it is drawn."""

import numpy as np
from einops import reduce
from jaxtyping import Float, UInt8

LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
"""ITU-R BT.709."""
_BLOCK = 8


def luma(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t h w"]:
    """Brightness in grey levels, 0 to 255."""
    return frames.astype(np.float32) @ LUMA


def motion(grey: Float[np.ndarray, "t h w"], fps: float) -> float:
    """Mean change of a pixel in half a second, in grey levels; 0 for a still or a clip that is no longer."""
    lag = max(1, round(fps / 2))
    return float(np.abs(grey[lag:] - grey[:-lag]).mean()) if len(grey) > lag else 0.0


def flicker(grey: Float[np.ndarray, "t h w"]) -> float:
    """Mean second difference in time of blocks of 8x8 pixels, in grey levels: 0 for what changes steadily."""
    height, width = (size // _BLOCK * _BLOCK for size in grey.shape[1:])
    blocks = reduce(grey[:, :height, :width], "t (h a) (w b) -> t h w", "mean", a=_BLOCK, b=_BLOCK)
    return float(np.abs(blocks[2:] - 2 * blocks[1:-1] + blocks[:-2]).mean()) if len(grey) > 2 else 0.0


def detail(grey: Float[np.ndarray, "t h w"]) -> float:
    """Mean difference of neighbouring pixels, across and down, in grey levels: low for a blurred picture."""
    return float(np.abs(np.diff(grey, axis=1)).mean() + np.abs(np.diff(grey, axis=2)).mean()) / 2
