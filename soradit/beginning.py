"""What a video begins with: frames or an image, as latents that are held; and given and new frames as a whole."""

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from soradit.model.autoencoder import Autoencoder, to_float
from soradit.model.config import held_latents


def known_latents(
    autoencoder: Autoencoder, start: UInt8[np.ndarray, "T H W 3"], *, window: int
) -> Float[Tensor, "1 t h w c"]:
    """Latents of the last frames that a video begins with, half a ``window`` of them at most, or of an image.

    An image is what has fewer frames than a latent stands for.
    """
    size = autoencoder.config.token_size[0]
    held = held_latents(len(start), size, window)
    if len(start) < size:  # an image stands still, also for the frames around its latent
        frames = repeat(start[-1], "h w c -> t h w c", t=3 * size)
    else:
        frames = start[-min(len(start) // size, held + window) * size :]
    video = to_float(torch.from_numpy(np.ascontiguousarray(frames)).to(autoencoder.latent_mean.device))
    latents = autoencoder.encode(video[None]).float()
    return latents[:, :held] if len(start) < size else latents[:, -held:]


def go_on(
    start: UInt8[np.ndarray, "T H W 3"], frames: UInt8[np.ndarray, "N H W 3"], *, overlap: int
) -> UInt8[np.ndarray, "M H W 3"]:
    """Join frames to a video whose last ``overlap`` frames are their first, fading from the one to the other."""
    share = ((np.arange(overlap) + 1) / (overlap + 1))[:, None, None, None]
    faded = (1 - share) * start[-overlap:] + share * frames[:overlap]
    return np.concatenate([start[:-overlap], faded.round().astype(np.uint8), frames[overlap:]])
