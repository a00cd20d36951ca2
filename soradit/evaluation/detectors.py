"""What a clip shows of hour, clouds and drift: by colour, brightness and phase correlation, no trained network.

Hour and cover are linear rules over named numbers (``appearance``), whose coefficients stand in ``detectors.json``;
``benchmarks/fit_detectors.py`` fits them to a folder of captioned skies. Drift is measured.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch.nn.functional import adaptive_avg_pool2d

from soradit.evaluation.facts import Facts
from soradit.evaluation.measures import LUMA, luma

COEFFICIENTS = "detectors.json"
_GRID = 16
_SKY_ROWS = 11
"""Rows of the grid, from the top, that are taken for sky: below may be land or sea."""
DIRECTIONS = ("right", "right away", "away", "left away", "left", "left towards", "towards", "right towards")
"""Clockwise on the screen, in steps of 45 degrees: clouds that go away sink, and those that come rise."""
_STILL = 0.005
"""Picture heights a second: clouds slower than this do not drift."""
_NOISE = 1e-3
"""Square of grey levels: what varies less is rounding, and nothing is seen to move in it."""
_FAINT = 0.01
"""Peaks lower than this are chance; those of drifting clouds are near 0.08."""


def detect(frames: UInt8[np.ndarray, "t h w 3"], fps: float) -> Facts:
    """What RGB frames show; ``drift`` is None for a clip that stands still."""
    numbers = appearance(frames, fps)
    return Facts(hour=_decide("hour", numbers), cover=_decide("cover", numbers), drift=_direction(frames, fps))


def appearance(frames: UInt8[np.ndarray, "t h w 3"], fps: float) -> dict[str, float]:
    """Colour and brightness of the sky in blocks of a 16th of the picture, so that stars do not count.

    Brightness is between 0 and 1; warmth is (R - B) / (R + G + B), greenness (2 G - R - B) / (R + G + B).
    """
    pictures = rearrange(torch.from_numpy(frames), "t h w c -> t c h w").float() / 255
    blocks = rearrange(adaptive_avg_pool2d(pictures, _GRID), "t c h w -> t h w c").numpy()[:, :_SKY_ROWS]
    red, green, blue = np.moveaxis(blocks, -1, 0)
    grey, total = blocks @ LUMA, blocks.sum(-1) + 0.02
    warmth, greenness = (red - blue) / total, (2 * green - red - blue) / total
    lag = min(max(1, round(fps / 2)), len(frames) - 1)
    change = np.abs(warmth[lag:] - warmth[: len(warmth) - lag]).mean() if lag else 0.0
    return {
        "darkest log brightness": float(np.log(np.quantile(grey, 0.05) + 0.01)),
        "brightest log brightness": float(np.log(np.quantile(grey, 0.95) + 0.01)),
        "log unevenness along rows": float(np.log(grey.std(2).mean() + 0.002)),
        "coldest warmth": float(np.quantile(warmth, 0.05)),
        "warmest warmth": float(np.quantile(warmth, 0.95)),
        "greenness": float(greenness.mean()),
        "least greenness": float(np.quantile(greenness, 0.05)),
        "log change of warmth in half a second": float(np.log(change + 0.002)),
    }


def drift(frames: UInt8[np.ndarray, "t h w 3"], fps: float) -> tuple[float, float]:
    """Motion of the sky in picture heights a second: (to the right, down).

    Phase correlation (Kuglin & Hines 1975) of tiles of the upper picture 3/8 s apart, averaged over all pairs of
    frames, and then over tiles by the height of their peaks. What stands still is taken off first: the mean frame.
    """
    lag = max(1, round(fps * 3 / 8))
    if len(frames) <= lag:
        return 0.0, 0.0
    height, width = frames.shape[1:3]
    scale = min(1.0, 128 / height)
    size = (round(height * scale), round(width * scale))
    grey = adaptive_avg_pool2d(torch.from_numpy(luma(frames)), size).numpy()
    grey -= grey.mean(axis=0)
    tile = min(size) // 2
    tops, lefts = (0, 3 * size[0] // 16), range(0, size[1] - tile + 1, max(1, tile // 2))
    found = [_shift(grey[:, y : y + tile, x : x + tile], lag) for y in tops for x in lefts]
    right, down, peak = np.array(found).T
    weight = np.maximum(peak - _FAINT, 0)
    if not weight.any():
        return 0.0, 0.0
    per_second = fps / lag / size[0]
    return float(np.average(right, weights=weight)) * per_second, float(np.average(down, weights=weight)) * per_second


def _shift(tiles: Float[np.ndarray, "t s s"], lag: int) -> tuple[float, float, float]:
    """How far the picture moves in ``lag`` frames, to the right and down in pixels, and the height of the peak."""
    size = tiles.shape[-1]
    window = np.outer(*[np.hanning(size + 2)[1:-1]] * 2)
    spectrum = np.fft.fft2((tiles - tiles.mean(axis=(1, 2), keepdims=True)) * window)
    cross = spectrum[lag:] * spectrum[:-lag].conj()
    # The whitening stops where there is next to nothing to whiten; high frequencies hold grain, and count little.
    cross /= np.abs(cross) + 1e-3 * np.abs(cross).mean() + _NOISE * (window**2).sum()
    frequency = np.fft.fftfreq(size)
    smooth = np.exp(-(frequency[:, None] ** 2 + frequency**2) / (2 * 0.15**2))
    reach = size // 4
    surface = np.roll(np.fft.ifft2(cross.mean(axis=0) * smooth).real, (reach, reach), axis=(0, 1))
    surface = surface[: 2 * reach + 1, : 2 * reach + 1]
    row, column = np.unravel_index(surface.argmax(), surface.shape)
    right, down = _summit(surface[row], int(column)) - reach, _summit(surface[:, column], int(row)) - reach
    return right, down, float(surface.max())


def _summit(line: Float[np.ndarray, "n"], top: int) -> float:
    """Where the parabola through the highest sample and its neighbours is highest."""
    if not 0 < top < len(line) - 1:
        return float(top)
    before, here, after = line[top - 1 : top + 2]
    bend = before - 2 * here + after
    return top + float(0.5 * (before - after) / bend) if bend < 0 else float(top)


def _direction(frames: UInt8[np.ndarray, "t h w 3"], fps: float) -> str | None:
    right, down = drift(frames, fps)
    if np.hypot(right, down) < _STILL:
        return None
    return DIRECTIONS[round(np.degrees(np.arctan2(down, right)) / 45) % 8]


def _decide(what: str, numbers: dict[str, float]) -> str:
    """The class with the largest weighted sum."""
    sums = {
        name: sum(weight * numbers.get(number, 1.0) for number, weight in weights.items())  # 1: of the constant
        for name, weights in _coefficients()[what].items()
    }
    return max(sums, key=sums.__getitem__)


@cache
def _coefficients() -> dict[str, Any]:
    return json.loads(files("soradit.evaluation").joinpath(COEFFICIENTS).read_text(encoding="utf-8"))
