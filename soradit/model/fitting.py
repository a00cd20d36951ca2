"""Where the autoencoder's training starts: the best linear model of the clips, in closed form.

The encoder's linear layers become a chain of principal component analyses, each of the features below it, and the
decoder's layers their inverses. A chain of projections onto principal components is close to the single best one, so
a fitted autoencoder begins at PCA's quality instead of at noise. Each layer's features are rotated at random, which
keeps the compression and spreads the variance evenly over features, as networks like it.

The decoder's first layer is better than an inverse: it is the least-squares estimate of the encoder's last features
from a latent vector and its 26 neighbours, which know what lies across the token's borders.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from soradit.media.patches import PatchSize, patchify
from soradit.model.autoencoder import MERGE, Autoencoder, Decoder, Encoder, neighbourhoods, to_float

RELU_MARGIN = 8.0
"""Standard deviations that a bias lifts features by, so that the ReLU passes all of them at first: a sunset's yellow
lies further from the mean than a normal distribution would have it, and cut off it comes out as speckles."""
LATENT_WHITENING = 0.25
"""Latents are divided by variance ** this: 0 keeps the pixels' proportions, 0.5 makes all directions equal."""
EXPECTED_NOISE = 0.05
"""On the latents that the decoder is given, in their standard deviations: a transformer's are never exact."""
MAX_CHAIN_NUMBERS = 2**27
"""Principal components want all their patches in memory: of more than this, a part of each video is used."""
TURNED_BY = 64
"""Videos that tell how two encoders' latents lie to each other."""
CHUNK = 4
"""Videos encoded at a time for the least squares, which are summed up over any number."""

Videos = UInt8[Tensor, "clips frames height width 3"]


@torch.no_grad()
def fit_autoencoder(
    autoencoder: Autoencoder,
    videos: Videos,
    seed: int,
    *,
    like: Autoencoder | None = None,
    poll: Callable[[], None] = lambda: None,
) -> None:
    """Set every linear layer in place, from videos in [0, 255]; the residual blocks must be the identity still.

    Any rotation of latents keeps what they tell. With ``like``, of as many channels or fewer, the first of them are
    turned towards its own, so that a transformer of those can go on instead of starting anew.
    ``poll`` is called every few seconds, and may raise.
    """
    _fit_chain(autoencoder, videos, seed, poll)
    if like is not None:
        _turn_towards(autoencoder.encoder, like, videos, poll)
    _fit_first_layer(autoencoder, autoencoder.encoder, videos, poll)


@torch.no_grad()
def fit_decoder(
    autoencoder: Autoencoder, videos: Videos, seed: int, *, poll: Callable[[], None] = lambda: None
) -> None:
    """Set every linear layer of the decoder in place, for an encoder that is as it is; ``poll`` as above."""
    linear = Autoencoder(autoencoder.config)
    _fit_chain(linear, videos, seed, poll)
    autoencoder.decoder.load_state_dict(linear.decoder.state_dict())
    _fit_first_layer(autoencoder, linear.encoder, videos, poll)


def _fit_chain(autoencoder: Autoencoder, videos: Videos, seed: int, poll: Callable[[], None]) -> None:
    """Principal components up the encoder, their inverses down the decoder, all but its first layer."""
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    downwards: list[Any] = [encoder.project, *encoder.merge, encoder.to_latents]
    upwards: list[Any] = [decoder.to_pixels, *reversed(decoder.split), None]
    generator = torch.Generator().manual_seed(seed)
    x = patchify(to_float(_corners(videos, autoencoder.config.token_size)), encoder.patch_size)
    for down, up in zip(downwards, upwards, strict=True):
        poll()
        x = patchify(x, MERGE) if down in encoder.merge else x
        _fit_pair(down, up, x, whitening=0.0 if up else LATENT_WHITENING, generator=generator)
        x = F.linear(x, down.weight, down.bias)
        if down is encoder.project:
            deviation = _flat(x).std(0)
    _lift(encoder, deviation)


def _turn_towards(encoder: Encoder, other: Autoencoder, videos: Videos, poll: Callable[[], None]) -> None:
    """Rotate the encoder's first latents to be closest to the other's: orthogonal Procrustes (Schoenemann 1966)."""
    channels, others = encoder.to_latents.out_features, other.config.latent_channels
    products = torch.zeros(others, channels, dtype=torch.float64)
    for chunk in videos[:TURNED_BY].split(CHUNK):
        poll()
        video = to_float(chunk)
        products += _flat(other.encode(video)).double().T @ _flat(encoder(video)).double()
    left, _, right = torch.linalg.svd(products)
    rotation = torch.cat([left @ right[:others], right[others:]]).float()
    encoder.to_latents.weight.copy_(rotation @ encoder.to_latents.weight)
    encoder.to_latents.bias.copy_(rotation @ encoder.to_latents.bias)


def _corners(videos: Videos, token_size: PatchSize) -> UInt8[Tensor, "clips t h w 3"]:
    """A corner of each video's picture, in its first frames: few numbers from as many videos as possible."""
    if videos.numel() <= MAX_CHAIN_NUMBERS:
        return videos
    lengths = zip(videos.shape[1:4], token_size, strict=True)
    t, h, w = (max(unit, length // 2 // unit * unit) for length, unit in lengths)
    corners = itertools.cycle(itertools.product((slice(None, h), slice(-h, None)), (slice(None, w), slice(-w, None))))
    count = max(1, MAX_CHAIN_NUMBERS // (3 * t * h * w))
    return torch.stack([video[:t, y, x] for video, (y, x) in zip(videos[:count], corners, strict=False)])


def _fit_pair(
    down: nn.Linear,
    up: nn.Linear | None,
    x: Float[Tensor, "b t h w inputs"],
    *,
    whitening: float,
    generator: torch.Generator,
) -> None:
    """Make ``down`` a projection onto principal components of ``x``, and ``up`` its inverse."""
    flat = _flat(x)
    mean = flat.mean(0)
    kept = down.out_features
    variance, directions = torch.linalg.eigh(torch.cov(flat.T))
    variance, directions = variance[-kept:].clamp_min(1e-8), directions[:, -kept:]
    scale = variance**-whitening
    scale = scale * (scale**2 * variance).mean().rsqrt()  # unit mean square over features
    rotation = torch.linalg.qr(torch.randn(kept, kept, generator=generator)).Q
    down.weight.copy_(rotation @ (directions * scale).T)
    down.bias.copy_(-down.weight @ mean)
    if up is not None:
        up.weight.copy_((directions / scale) @ rotation.T)
        up.bias.copy_(mean)


def _fit_first_layer(autoencoder: Autoencoder, linear: Encoder, videos: Videos, poll: Callable[[], None]) -> None:
    """Let the decoder's first layer estimate ``linear``'s last features from the encoder's latents.

    Least squares by the normal equations, summed in float64, with a last input that is always 1 for the bias.
    """
    decoder = autoencoder.decoder
    gram = torch.zeros(decoder.project.in_features + 1, decoder.project.in_features + 1, dtype=torch.float64)
    cross = torch.zeros(decoder.project.in_features + 1, decoder.project.out_features, dtype=torch.float64)
    squares = torch.zeros(decoder.project.out_features, dtype=torch.float64)
    for chunk in videos.split(CHUNK):
        poll()
        video = to_float(chunk)
        inputs = F.pad(_flat(neighbourhoods(autoencoder.encoder(video))), (0, 1), value=1.0)
        outputs = _flat(_last_features(linear, video))
        gram += inputs.T @ inputs
        cross += inputs.T @ outputs
        squares += outputs.square().sum(0)
    count, mean = gram[-1, -1], gram[-1] / gram[-1, -1]
    variance = gram.diagonal() / count - mean**2
    gram.diagonal().add_(count * (EXPECTED_NOISE**2 * variance).clamp_min(1e-9))
    solution = torch.linalg.solve(gram, cross).float().T
    decoder.project.weight.copy_(solution[:, :-1])
    decoder.project.bias.copy_(solution[:, -1])
    _lift(decoder, (squares / count).sqrt().float())


def _lift(half: Encoder | Decoder, deviation: Float[Tensor, " c"]) -> None:
    """Raise the first layer's features above the ReLU's zero; the half takes the lift off behind the ReLU."""
    half.lift.copy_(RELU_MARGIN * deviation)
    half.project.bias.add_(half.lift)


def _last_features(linear: Encoder, video: Float[Tensor, "b frames height width 3"]) -> Float[Tensor, "b t h w c"]:
    """The features that ``linear``, an encoder whose residual blocks are the identity, makes latents of."""
    x = linear.project(patchify(video, linear.patch_size)) - linear.lift
    for merge in linear.merge:
        x = merge(patchify(x, MERGE))
    return x


def _flat(x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "positions c"]:
    return rearrange(x, "b t h w c -> (b t h w) c")
