"""Points of light, such as stars: too small to count in a mean square, and so to an autoencoder that is fitted by it.

Latents may hold, beside what the encoder's layers say, the brightest point of every patch: how bright and where.
"""

import functools

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from jaxtyping import Float
from torch import Tensor

from soradit.media.patches import PatchSize

VERSION = 1
"""Of what the numbers mean: raised when a clip would get others, since latents are kept by it."""
POINT_SIZE = 5
"""Pixels; what is as wide or as high as that is no point."""
FAINTEST = 0.1
"""In the unit of the video, where black to white is 2: what is less bright is texture, which latents hold anyway."""
POINT_SPREAD = 0.6
"""Standard deviation in pixels of a point as it is drawn: that of a star one pixel wide after video compression."""
GAIN = 4.0
"""Brings the numbers of bright points to the size of other latents."""


def find_points(
    video: Float[Tensor, "b frames height width 3"], patch_size: PatchSize
) -> Float[Tensor, "b t h w numbers"]:
    """Of each patch, in the mean of its frames: how strong its brightest point is, and that times the point's place.

    Strength is the root of the brightness in the unit of the video, 0 for none, so that a faint star is clearly more
    than none, and what little a transformer errs by is squared away. Places go from -1 to 1, down and to the right.
    """
    frames, height, width = patch_size
    hats = reduce(top_hat(video), "b (t k) h w -> b t h w", "mean", k=frames)
    patches = rearrange(hats, "b t (h y) (w x) -> b t h w (y x)", y=height, x=width)
    brightness, pixel = F.threshold(patches, FAINTEST, 0.0).max(dim=-1)
    strength = brightness.sqrt()
    down = (pixel // width + 0.5) / height * 2 - 1
    right = (pixel % width + 0.5) / width * 2 - 1
    return GAIN * torch.stack([strength, strength * down, strength * right], dim=-1)


def draw_points(
    points: Float[Tensor, "b t h w numbers"], patch_size: PatchSize
) -> Float[Tensor, "b frames height width 1"]:
    """What points add to a video: a small Gaussian each, the same in all frames of a patch."""
    frames, height, width = patch_size
    strength, down, right = (points / GAIN).unbind(dim=-1)
    strength = F.relu(strength)
    rows = _profile(down / strength.clamp_min(1e-6), height)
    columns = _profile(right / strength.clamp_min(1e-6), width)
    spots = strength.square()[..., None, None] * rows[..., :, None] * columns[..., None, :]
    picture = F.fold(
        rearrange(spots, "b t h w y x -> (b t) (y x) (h w)"),
        output_size=(points.shape[2] * height, points.shape[3] * width),
        kernel_size=spots.shape[-2:],
        stride=(height, width),
        padding=POINT_SIZE // 2,
    )
    return repeat(picture, "(b t) 1 height width -> b (t k) height width 1", b=len(points), k=frames)


def top_hat(video: Float[Tensor, "b frames height width 3"]) -> Float[Tensor, "b frames height width"]:
    """By how much points are brighter than what is around them; 0 for what is longer than they in height or width.

    The grey picture less its openings by a vertical and by a horizontal line (Serra 1982, Image Analysis and
    Mathematical Morphology).
    """
    grey = video.mean(dim=-1)
    return grey - torch.maximum(_opened(grey, dim=-2), _opened(grey, dim=-1))


def _opened(grey: Float[Tensor, "b frames height width"], dim: int) -> Float[Tensor, "b frames height width"]:
    """Without what is bright along fewer than POINT_SIZE pixels."""
    eroded = -_brightest_nearby(-grey, dim)
    return _brightest_nearby(eroded, dim)


def _brightest_nearby(grey: Float[Tensor, "b frames height width"], dim: int) -> Float[Tensor, "b frames height width"]:
    """The largest of the POINT_SIZE pixels around each; several times faster than ``max_pool2d`` on a CPU."""
    reach = POINT_SIZE // 2
    padded = F.pad(grey, (reach, reach) if dim == -1 else (0, 0, reach, reach), value=-torch.inf)
    shifted = (padded.narrow(dim, by, grey.shape[dim]) for by in range(POINT_SIZE))
    return functools.reduce(torch.maximum, shifted)


def _profile(place: Float[Tensor, "*patches"], length: int) -> Float[Tensor, "*patches pixels"]:
    """The Gaussian along a side of a patch, and some pixels beyond; ``place`` is from -1 to 1."""
    beyond = POINT_SIZE // 2
    pixels = torch.arange(-beyond, length + beyond, device=place.device) + 0.5
    middle = (place.clamp(-1, 1) + 1) / 2 * length
    return torch.exp(-(((pixels - middle[..., None]) / POINT_SPREAD) ** 2) / 2)
