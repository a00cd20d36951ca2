"""Video <-> spacetime patches: steps 2 and 14, an exact inverse pair.

A patch is a block of ``frames x height x width`` pixels, flattened into one vector. Patches do not overlap and
cover every pixel of every frame (Dosovitskiy et al. 2020, arXiv 2010.11929, in space; Arnab et al. 2021,
arXiv 2103.15691, section 3.2 "tubelet embedding", in spacetime).
"""

from einops import rearrange
from jaxtyping import Shaped
from torch import Tensor

from soradit.errors import SoraditError

PatchSize = tuple[int, int, int]
"""Frames, height, width of a patch, in whatever the grid holds: pixels, or smaller patches."""


def patchify(
    video: Shaped[Tensor, "batch frames height width channels"], size: PatchSize
) -> Shaped[Tensor, "batch t h w patch"]:
    """Cut a video into patches; ``patch = frames * height * width * channels`` of ``size``.

    Raises SoraditError when the video is not a whole number of patches.
    """
    require_whole(video, size)
    pt, ph, pw = size
    return rearrange(video, "b (t pt) (h ph) (w pw) c -> b t h w (pt ph pw c)", pt=pt, ph=ph, pw=pw)


def unpatchify(
    patches: Shaped[Tensor, "batch t h w patch"], size: PatchSize
) -> Shaped[Tensor, "batch frames height width channels"]:
    """Put patches back where :func:`patchify` took them from: ``unpatchify(patchify(v, s), s) == v``."""
    pt, ph, pw = size
    return rearrange(patches, "b t h w (pt ph pw c) -> b (t pt) (h ph) (w pw) c", pt=pt, ph=ph, pw=pw)


def require_whole(video: Shaped[Tensor, "batch frames height width channels"], size: PatchSize) -> None:
    """Raise SoraditError when the video is not a whole number of patches."""
    _, *extent, _ = video.shape
    for name, length, unit in zip(("frames", "height", "width"), extent, size, strict=True):
        if length % unit:
            raise SoraditError(f"{name} {length} is not a multiple of {unit}: {_nearest(length, unit)}")


def _nearest(length: int, unit: int) -> str:
    below, above = length // unit * unit, (length // unit + 1) * unit
    return f"use {below} or {above}" if below else f"use {above}"
