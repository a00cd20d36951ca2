"""Where the autoencoder's training starts: each linear layer as a principal component analysis of its input.

A projection onto principal components is the best linear compression there is, and a chain of them nearly is, so
a fitted autoencoder begins at PCA's quality instead of at noise. Each layer's features are rotated at random
afterwards, which keeps the compression and spreads the variance evenly over features, as networks like it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from soradit.media.patches import patchify
from soradit.model.autoencoder import MERGE, Autoencoder

RELU_MARGIN = 3.0
"""Standard deviations that a bias lifts features by, so that the ReLU passes nearly all of them at first."""
LATENT_WHITENING = 0.25
"""Latents are divided by variance ** this: 0 keeps the pixels' proportions, 0.5 makes all directions equal."""


@torch.no_grad()
def fit_to_principal_components(
    autoencoder: Autoencoder, video: Float[Tensor, "clips frames height width 3"], seed: int
) -> None:
    """Set every linear layer of encoder and decoder in place; the residual blocks stay the identity."""
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    downwards: list[Any] = [encoder.project, *encoder.merge, encoder.to_latents]
    upwards: list[Any] = [decoder.to_pixels, *reversed(decoder.split), decoder.project]
    generator = torch.Generator().manual_seed(seed)
    x = patchify(video, encoder.patch_size)
    features = []
    for down, up in zip(downwards, upwards, strict=True):
        is_merge = down not in (encoder.project, encoder.to_latents)
        x = patchify(x, MERGE) if is_merge else x
        _fit_pair(down, up, x, whitening=LATENT_WHITENING if up is decoder.project else 0.0, generator=generator)
        x = F.linear(x, down.weight, down.bias)
        features.append(x)
    merge_repeats = 4 if encoder.merge else 1
    _lift(encoder.project, downwards[1], features[0], merge_repeats)
    _lift(decoder.project, upwards[-2], features[-2], 1)


def _fit_pair(
    down: nn.Linear,
    up: nn.Linear,
    x: Float[Tensor, "b t h w inputs"],
    *,
    whitening: float,
    generator: torch.Generator,
) -> None:
    """Make ``down`` a projection onto principal components of ``x``, and ``up`` its inverse."""
    flat = rearrange(x, "b t h w c -> (b t h w) c")
    mean = flat.mean(0)
    kept = down.out_features
    variance, directions = torch.linalg.eigh(torch.cov(flat.T))
    variance, directions = variance[-kept:].clamp_min(1e-8), directions[:, -kept:]
    scale = variance**-whitening
    scale = scale * (scale**2 * variance).mean().rsqrt()  # unit mean square over features
    rotation = torch.linalg.qr(torch.randn(kept, kept, generator=generator)).Q
    down.weight.copy_(rotation @ (directions * scale).T)
    down.bias.copy_(-down.weight @ mean)
    up.weight.copy_((directions / scale) @ rotation.T)
    up.bias.copy_(mean)


def _lift(layer: nn.Linear, following: nn.Linear, features: Float[Tensor, "b t h w c"], repeats: int) -> None:
    """Raise ``layer``'s features above the ReLU's zero, and let the ``following`` layer take the lift off again."""
    lift = RELU_MARGIN * rearrange(features, "b t h w c -> (b t h w) c").std(0)
    layer.bias.add_(lift)
    following.bias.sub_(following.weight @ lift.repeat(repeats))
