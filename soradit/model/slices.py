"""Decoding a slice of time after another: but for the frames themselves, in the memory of one slice. Step 13."""

import numpy as np
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from soradit.model.autoencoder import Autoencoder, to_uint8

DECODED_AT_ONCE = 8
"""Latent frames in a slice of decoding, beside those that only stand around it."""


def decode_in_slices(
    autoencoder: Autoencoder, latents: Float[Tensor, "t h w c"]
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Latents -> frames. A slice has as many latents around it as its pixels depend on, so that no seam can show."""
    token_frames, total, frames = autoencoder.config.token_size[0], len(latents), []
    for start, part in zip(range(0, total, DECODED_AT_ONCE), slices(autoencoder, total), strict=True):
        video = to_uint8(autoencoder.decode(latents[None, part])[0])
        wanted = slice(start - part.start, start - part.start + DECODED_AT_ONCE)
        frames.append(rearrange(video, "(t f) h w c -> t f h w c", f=token_frames)[wanted].cpu().numpy())
    return rearrange(np.concatenate(frames), "t f h w c -> (t f) h w c")


def slices(autoencoder: Autoencoder, total: int) -> list[slice]:
    """Of ``total`` latent frames, those that each slice of decoding looks at."""
    reach = autoencoder.decoder.reach
    starts = range(0, total, DECODED_AT_ONCE)
    return [slice(max(0, start - reach), min(total, start + DECODED_AT_ONCE + reach)) for start in starts]
