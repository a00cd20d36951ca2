"""Periodic noise textures by FFT, and how to look them up."""

import numpy as np
import torch
from torch.nn.functional import grid_sample

SIZE = 512  # texels a side of every texture
NUM_LEVELS = 5  # of a pyramid


def spectral(generator: np.random.Generator, *, slope: float, low: float = 1.0, stretch: float = 1.0) -> np.ndarray:
    """Gaussian noise whose amplitude falls as frequency**-slope: (SIZE, SIZE) float32, tileable, mean 0, std 1.

    Args:
        slope: 1 is rough, 2 is smooth (fractional Brownian motion; Voss 1985).
        low: cycles per tile below which nothing is present.
        stretch: how many times longer the features are along the first axis.
    """
    y = np.fft.fftfreq(SIZE, 1 / SIZE)[:, None] * stretch
    x = np.fft.rfftfreq(SIZE, 1 / SIZE)[None, :]
    frequency = np.hypot(x, y)
    amplitude = np.where(frequency >= low, np.maximum(frequency, 1) ** -slope, 0.0)
    amplitude *= np.exp(-((frequency / (0.42 * SIZE)) ** 4))
    white = np.fft.rfft2(generator.standard_normal((SIZE, SIZE), dtype=np.float32))
    return standardise(np.fft.irfft2(white * amplitude, s=(SIZE, SIZE)))


def standardise(texture: np.ndarray) -> np.ndarray:
    """The texture with mean 0 and standard deviation 1, as float32."""
    return ((texture - texture.mean()) / texture.std()).astype(np.float32)


def warp(texture: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Domain warping: the texture looked up at displacements in tiles, each (SIZE, SIZE)."""
    axis = np.arange(SIZE, dtype=np.float32) / SIZE
    u, v = axis[None, :] + right, axis[:, None] + down
    return lookup(wrap_border(texture[None]), u, v)[0]


def wrap_border(textures: np.ndarray) -> torch.Tensor:
    """Repeats the first row and column at the far side of (C, N, N), so that lookups interpolate across the seam."""
    return torch.from_numpy(np.pad(textures, ((0, 0), (0, 1), (0, 1)), mode="wrap"))[None]


def lookup(wrapped: torch.Tensor, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear, periodic lookup at u (right) and v (down) in tiles, (H, W) each: gives (C, H, W) float32."""
    grid = np.stack([u - np.floor(u), v - np.floor(v)], axis=-1, dtype=np.float32)
    grid *= 2.0
    grid -= 1.0
    return grid_sample(wrapped, torch.from_numpy(grid)[None], padding_mode="border", align_corners=True)[0].numpy()


def halve(textures: np.ndarray) -> np.ndarray:
    """Half the resolution of periodic textures (C, N, N), filtered so that texel 0 stays where it is."""
    for axis in (1, 2):
        textures = 0.5 * textures + 0.25 * (np.roll(textures, 1, axis) + np.roll(textures, -1, axis))
    return np.ascontiguousarray(textures[:, ::2, ::2])


def pyramid(textures: np.ndarray) -> list[torch.Tensor]:
    """Mip levels (Williams 1983) of (C, N, N), finest first, ready for ``lookup``."""
    levels = [wrap_border(textures)]
    for _ in range(NUM_LEVELS - 1):
        textures = halve(textures)
        levels.append(wrap_border(textures))
    return levels


def lookup_rows(levels: list[torch.Tensor], u: np.ndarray, v: np.ndarray, texels: np.ndarray) -> np.ndarray:
    """``lookup`` in a pyramid where a pixel of row r covers ``texels[r]`` finest texels, (H,), sorted: (C, H, W)."""
    last = len(levels) - 1
    level = np.clip(np.log2(np.maximum(texels, 1e-6)), 0, last - 1e-3).astype(np.float32)
    out = np.empty((levels[0].shape[1], *u.shape), dtype=np.float32)
    # Each level is one run of rows, as they are sorted by distance.
    for fine in range(last):
        rows = np.flatnonzero(level.astype(int) == fine)
        if len(rows) == 0:
            continue
        band = slice(rows[0], rows[-1] + 1)
        near = lookup(levels[fine], u[band], v[band])
        if fine == 0 and level[band].max() == 0:
            out[:, band] = near
            continue
        far = lookup(levels[fine + 1], u[band], v[band])
        out[:, band] = near + (far - near) * (level[band] - fine)[:, None]
    return out
