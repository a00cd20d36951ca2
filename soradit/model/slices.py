"""Decoding a slice of time after another: but for the frames themselves, in the memory of one slice. Step 13."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from soradit.model.autoencoder import Autoencoder, to_uint8

DECODED_AT_ONCE = 8
"""Latent frames in a slice of decoding, beside those that only stand around it."""


class Slice(NamedTuple):
    """Latent frames that are decoded at once, and which of those are shown."""

    start: int
    stop: int
    shown: slice


def decode_in_slices(
    autoencoder: Autoencoder, latents: Float[Tensor, "t h w c"]
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Latents -> frames. A slice has as many latents around it as its pixels depend on, so that no seam can show."""
    parts = slices(autoencoder, len(latents))
    videos = (autoencoder.decode(latents[None, start:stop], shown)[0] for start, stop, shown in parts)
    return np.concatenate([to_uint8(video).cpu().numpy() for video in videos])


def slices(autoencoder: Autoencoder, total: int) -> list[Slice]:
    """Slices that make up ``total`` latent frames."""
    reach = autoencoder.decoder.reach
    starts = range(0, total, DECODED_AT_ONCE)
    return [_slice(start, max(0, start - reach), min(total, start + DECODED_AT_ONCE + reach)) for start in starts]


def _slice(first: int, start: int, stop: int) -> Slice:
    return Slice(start, stop, slice(first - start, min(first + DECODED_AT_ONCE, stop) - start))
