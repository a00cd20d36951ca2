"""The visual autoencoder: video <-> latents, steps 3 and 13.

Patches are projected to features by weights, bias and ReLU; then, in stages, features of neighbouring patches are
mixed by residual layers and merged 2 x 2, until one latent vector stands for 4 x 32 x 32 pixels. The decoder runs
the same stages backwards; its first layer sees a latent vector's neighbours too, and steps between tokens are levelled
at the end, so that tokens meet without a seam. What tokens leave behind in pictures is taken off by a refiner, if there
is one (see ``soradit.model.refiner``). Residual layers start as the identity, so that a freshly fitted model (see
``soradit.model.fitting``) is a linear map, and training only adds to it.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from soradit.media.patches import PatchSize, patchify, require_whole, unpatchify
from soradit.model.config import AutoencoderConfig
from soradit.model.norm import RMSNorm
from soradit.model.refiner import REFINER_WIDTH, Refiner

MERGE: PatchSize = (1, 2, 2)
"""Between two stages, features of 2 x 2 neighbours become one."""

WHOLE = slice(None)

MAX_STEP = 0.03
"""The most of a step between tokens that is levelled, of pixels in [-1, 1]: more is an edge in the picture itself."""
LEVELLED = (0.6, 0.25, 0.25)
"""Share of it in time, height and width, measured on the bundled weights: what is left is like the texture inside."""


def neighbourhoods(latents: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t h w 27*c"]:
    """Each latent vector with its 3 x 3 x 3 neighbours; those beyond the border repeat the border's."""
    padded = F.pad(rearrange(latents, "b t h w c -> b c t h w"), (1, 1, 1, 1, 1, 1), mode="replicate")
    cubes = padded.unfold(2, 3, 1).unfold(3, 3, 1).unfold(4, 3, 1)
    return rearrange(cubes, "b c t h w i j k -> b t h w (i j k c)")


def level_borders(
    video: Float[Tensor, "b frames height width 3"], token_size: PatchSize
) -> Float[Tensor, "b frames height width 3"]:
    """Video whose tokens meet smoothly: a step between two of them is spread over the pixels nearest to their border.

    A step is what the mean of the slopes on both sides does not explain. As video codecs do (List et al. 2003,
    Adaptive deblocking filter), on the outermost eighth of a token, and by no more than LEVELLED and MAX_STEP say.
    """
    video = video.clone()
    for axis, length, share in zip((1, 2, 3), token_size, LEVELLED, strict=True):
        if length == 1:
            continue
        # Views, changed in place: most pixels are far from a border.
        tokens = video.movedim(axis, -1).unflatten(-1, (-1, length))
        before, after = tokens[..., :-1, :], tokens[..., 1:, :]
        slopes = (before[..., -1] - before[..., -2]) + (after[..., 1] - after[..., 0])
        step = share * (after[..., 0] - before[..., -1] - slopes / 2).clamp(-MAX_STEP, MAX_STEP)
        reach = max(1, length // 8)
        ramp = torch.arange(1, reach + 1, device=video.device) / (2 * reach)
        before[..., -reach:] += step[..., None] * ramp
        after[..., :reach] -= step[..., None] * ramp.flip(0)
    return video


class LinearReLU(nn.Linear):
    """Weights times vector plus bias, then ReLU: the layer of steps 3 and 13."""

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return F.relu(super().forward(x))


class ResidualBlock(nn.Module):
    """Adds to each position what its 3 x 3 x 3 neighbourhood says about it; the identity at initialisation.

    Depthwise convolution, then a pointwise two-layer network (Liu et al. 2022, ConvNeXt, arXiv 2201.03545).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.neighbours = nn.Conv3d(width, width, kernel_size=3, padding=1, groups=width)
        self.norm = RMSNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)
        nn.init.zeros_(self.contract.weight)
        nn.init.zeros_(self.contract.bias)

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t h w c"]:
        mixed = rearrange(self.neighbours(rearrange(x, "b t h w c -> b c t h w")), "b c t h w -> b t h w c")
        return x + self.contract(F.silu(self.expand(self.norm(mixed))))


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*[ResidualBlock(width) for _ in range(count)])


class Encoder(nn.Module):
    """Video -> latents, not yet normalised: step 3."""

    lift: Tensor
    """By which features are above the ReLU's zero when a model is fresh; behind the ReLU it is taken off again."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        first, *later = config.widths
        self.project = LinearReLU(3 * math.prod(config.patch_size), first)
        self.register_buffer("lift", torch.zeros(first))
        self.blocks = nn.ModuleList([_blocks(width, config.blocks_per_stage) for width in config.widths])
        self.merge = nn.ModuleList(
            [nn.Linear(4 * below, above) for below, above in zip(config.widths, later, strict=False)]
        )
        self.to_latents = nn.Linear(config.widths[-1], config.latent_channels)

    def forward(self, video: Float[Tensor, "b frames height width 3"]) -> Float[Tensor, "b t h w latent"]:
        x = self.blocks[0](self.project(patchify(video, self.patch_size)) - self.lift)
        for merge, blocks in zip(self.merge, self.blocks[1:], strict=True):
            x = blocks(merge(patchify(x, MERGE)))
        return self.to_latents(x)


class Decoder(nn.Module):
    """Latents -> video: step 13, the encoder's stages backwards."""

    lift: Tensor
    """As the encoder's."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patch_size, self.token_size = config.patch_size, config.token_size
        first, *later = widths = config.widths[::-1]
        self.project = LinearReLU(27 * config.latent_channels, first)
        self.register_buffer("lift", torch.zeros(first))
        self.blocks = nn.ModuleList([_blocks(width, config.blocks_per_stage) for width in widths])
        self.split = nn.ModuleList([nn.Linear(above, 4 * below) for above, below in zip(widths, later, strict=False)])
        self.to_pixels = nn.Linear(widths[-1], 3 * math.prod(config.patch_size))
        self.refiner = Refiner(config.refiner_width) if config.refiner_width else nn.Identity()

    @property
    def reach(self) -> int:
        """How many latent frames before and after its own a frame depends on."""
        convolutions = sum(isinstance(module, ResidualBlock) for module in self.modules())
        return 1 + convolutions + 1  # neighbourhoods, convolutions of 3, levelled borders: each sees one further

    def forward(
        self, latents: Float[Tensor, "b t h w latent"], shown: slice = WHOLE
    ) -> Float[Tensor, "b frames height width 3"]:
        """Pixels of the latent frames that are ``shown``; the others only stand around them."""
        tokens = rearrange(self.draft(latents), "b (t f) h w c -> b t f h w c", f=self.patch_size[0])
        return self.refiner(rearrange(tokens[:, shown], "b t f h w c -> b (t f) h w c"))

    def draft(self, latents: Float[Tensor, "b t h w latent"]) -> Float[Tensor, "b frames height width 3"]:
        """What the refiner starts from."""
        x = self.blocks[0](self.project(neighbourhoods(latents)) - self.lift)
        for split, blocks in zip(self.split, self.blocks[1:], strict=True):
            x = blocks(unpatchify(split(x), MERGE))
        return level_borders(unpatchify(self.to_pixels(x), self.patch_size), self.token_size)


class Autoencoder(nn.Module):
    """Video in [-1, 1] <-> latents, zero in the mean of a channel, of unit variance on average."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        channels = config.latent_channels
        mean, std = config.latent_mean or [0.0] * channels, config.latent_std or [1.0] * channels
        # On the CPU also while the rest is only shapes, on the meta device: a folder's tensors don't hold them.
        self.register_buffer("latent_mean", torch.tensor(mean, device="cpu"), persistent=False)
        self.register_buffer("latent_std", torch.tensor(std, device="cpu"), persistent=False)
        self.config = config

    def encode(self, video: Float[Tensor, "b frames height width 3"]) -> Float[Tensor, "b t h w latent"]:
        """Frames must be a multiple of 4, height and width of 32 (``config.token_size``), else SoraditError."""
        require_whole(video, self.config.token_size)
        return self.normalise(self.encoder(video))

    def decode(
        self, latents: Float[Tensor, "b t h w latent"], shown: slice = WHOLE
    ) -> Float[Tensor, "b frames height width 3"]:
        """Pixels, clamped to [-1, 1], of the latent frames that are ``shown``."""
        return self.decoder(self.denormalise(latents), shown).clamp(-1, 1)

    def preview(self, latents: Float[Tensor, "b t h w latent"]) -> Float[Tensor, "b frames height width 3"]:
        """As ``decode``, but not refined, and so several times as fast."""
        return self.decoder.draft(self.denormalise(latents)).clamp(-1, 1)

    def rate_of(self, parameter: nn.Parameter) -> float:
        """Share of the learning rate that a parameter is trained at: less for layers that add up many inputs.

        AdamW moves every weight alike, so that those change a layer's outputs most (Yang et al. 2022, arXiv
        2203.03466, table 8).
        """
        inputs = parameter[0].numel() if parameter.ndim >= 2 else 1
        return min(1.0, self.config.widths[0] / inputs)

    def normalise(self, latents: Float[Tensor, "*b latent"]) -> Float[Tensor, "*b latent"]:
        return (latents - self.latent_mean) / self.latent_std

    def denormalise(self, latents: Float[Tensor, "*b latent"]) -> Float[Tensor, "*b latent"]:
        return latents * self.latent_std + self.latent_mean


def renew_refiner(autoencoder: Autoencoder) -> None:
    """Give it a refiner that changes nothing yet, in place of its own if it has one."""
    autoencoder.config = replace(autoencoder.config, refiner_width=REFINER_WIDTH)
    autoencoder.decoder.refiner = Refiner(REFINER_WIDTH)


def to_float(frames: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """uint8 in [0, 255] -> float32 in [-1, 1]."""
    return frames.to(torch.float32, copy=True).div_(127.5).sub_(1)  # in place: long clips are large


def to_uint8(video: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """float in [-1, 1] -> uint8 in [0, 255], rounded."""
    return ((video.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
