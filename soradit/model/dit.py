"""The diffusion transformer: steps 7 to 10.

Peebles & Xie 2023 (DiT, arXiv 2212.09748), for video: one token a latent vector, attention over all spacetime
tokens with rotary positions, and over the prompt's tokens.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from soradit.device import is_faster_written_out
from soradit.model.conditioning import Conditioning, Modulation
from soradit.model.norm import RMSNorm

ROTARY_BASE = 100.0
"""Wavelengths run from 2 pi to about 400 positions; grids here are tens of positions long."""
FRAME_HARMONICS = 4


@dataclass(frozen=True, kw_only=True)
class DiTConfig:
    """Sizes of the transformer and of what it is given."""

    depth: int = 8
    width: int = 320
    heads: int = 5
    mlp_ratio: int = 4
    """Width of the feed-forward's middle, in widths."""
    latent_channels: int = 64
    text_dim: int = 192
    """Width of the prompt's token embeddings."""
    pooled_dim: int = 192
    """Width of the prompt's pooled embedding."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")


Rotation = tuple[Float[Tensor, "tokens half"], Float[Tensor, "tokens half"]]
"""Cosine and sine of each token's rotary angles."""


def modulate(
    x: Float[Tensor, "*b tokens width"], scale: Float[Tensor, "*b 1 width"], shift: Float[Tensor, "*b 1 width"]
) -> Float[Tensor, "*b tokens width"]:
    """Scale and shift the features: step 7."""
    return torch.addcmul(shift, x, scale)


def rotary_angles(t: int, h: int, w: int, *, head_dim: int, device: torch.device) -> Rotation:
    """Each axis of the grid t x h x w turns a third of a head's dimensions by its position.

    Su et al. 2021 (RoFormer, arXiv 2104.09864), equation 34, once an axis; dimensions left over are not turned.
    """
    pairs = head_dim // 6
    frequencies = ROTARY_BASE ** (-torch.arange(pairs, device=device) / pairs)
    axes = torch.meshgrid(*[torch.arange(n, device=device) for n in (t, h, w)], indexing="ij")
    angles = torch.cat([axis.flatten()[:, None] * frequencies for axis in axes], dim=-1)
    angles = F.pad(angles, (0, head_dim // 2 - 3 * pairs))
    return angles.cos(), angles.sin()


def rotate(x: Float[Tensor, "b heads tokens dim"], by: Rotation) -> Float[Tensor, "b heads tokens dim"]:
    """Turn the pairs (x[i], x[i + dim / 2]) by the angles."""
    cos, sin = by
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def attend(
    q: Float[Tensor, "b heads queries dim"], k: Float[Tensor, "b heads keys dim"], v: Float[Tensor, "b heads keys out"]
) -> Float[Tensor, "b heads queries out"]:
    """Each query's mean of the values, weighted by its row of softmax(q k^T / sqrt(dim)): steps 8 and 9.

    Vaswani et al. 2017 (arXiv 1706.03762), equation 1. With the identity matrix as values, the weights themselves.
    """
    if torch.is_grad_enabled() and is_faster_written_out(k.device, k.shape[-2]):
        return (q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


def place_in_frame(t: int, h: int, w: int, *, device: torch.device) -> Float[Tensor, "t h w features"]:
    """Where in the picture a token stands, whatever the picture's size: harmonics of its relative height and width.

    Rotary positions tell tokens only how far apart they are; a sky also needs to know up from down.
    """
    harmonics = math.pi * torch.arange(1, FRAME_HARMONICS + 1, device=device)
    y, x = ((torch.arange(n, device=device) + 0.5)[:, None] / n * harmonics for n in (h, w))
    y = torch.cat([y.sin(), y.cos()], dim=-1)[None, :, None].expand(t, h, w, -1)
    x = torch.cat([x.sin(), x.cos()], dim=-1)[None, None].expand(t, h, w, -1)
    return torch.cat([y, x], dim=-1)


class AdaptiveLayerNorm(nn.Module):
    """Layer norm whose scale and shift come from the conditions: step 7."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)

    def forward(
        self, x: Float[Tensor, "b tokens width"], scale: Float[Tensor, "b 1 width"], shift: Float[Tensor, "b 1 width"]
    ) -> Float[Tensor, "b tokens width"]:
        return modulate(self.norm(x), scale, shift)


class Attention(nn.Module):
    """Self-attention over all spacetime tokens, and over the prompt's tokens in the same softmax: steps 8 and 9.

    Queries and keys are normalised per head (Dehghani et al. 2023, ViT-22B, arXiv 2302.05442, section 2).
    """

    def __init__(self, *, width: int, heads: int, text_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width)
        self.text_to_kv = nn.Linear(text_dim, 2 * width)
        self.norm_q = RMSNorm(width // heads, eps=1e-6)
        self.norm_k = RMSNorm(width // heads, eps=1e-6)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "b tokens width"], text: Float[Tensor, "b words text"], rotation: Rotation
    ) -> Float[Tensor, "b tokens width"]:
        q, k, v = rearrange(self.to_qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        text_k, text_v = rearrange(self.text_to_kv(text), "b n (two h d) -> two b h n d", two=2, h=self.heads)
        q, k = rotate(self.norm_q(q), rotation), rotate(self.norm_k(k), rotation)
        k, v = torch.cat([k, self.norm_k(text_k)], dim=2), torch.cat([v, text_v], dim=2)
        attended = attend(q, k, v)
        return self.out(rearrange(attended, "b h n d -> b n (h d)"))


class FeedForward(nn.Sequential):
    """The same two layers at every token: step 10."""

    def __init__(self, *, width: int, ratio: int) -> None:
        super().__init__(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))


class Block(nn.Module):
    """Attention, then feed-forward, each behind an adaptive layer norm and a gate; the identity at initialisation."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.width
        self.modulation = Modulation(condition_width=width, width=width, scales=2, shifts=2, gates=2)
        self.norm = AdaptiveLayerNorm(width)
        self.attention = Attention(width=width, heads=config.heads, text_dim=config.text_dim)
        self.feed_forward = FeedForward(width=width, ratio=config.mlp_ratio)

    def forward(
        self,
        x: Float[Tensor, "b tokens width"],
        condition: Float[Tensor, "b width"],
        text: Float[Tensor, "b words text"],
        rotation: Rotation,
    ) -> Float[Tensor, "b tokens width"]:
        scale1, scale2, shift1, shift2, gate1, gate2 = self.modulation(condition)
        x = torch.addcmul(x, gate1, self.attention(self.norm(x, scale1, shift1), text, rotation))
        return torch.addcmul(x, gate2, self.feed_forward(self.norm(x, scale2, shift2)))


class DiT(nn.Module):
    """Noised latents, timestep and text -> prediction, of the latents' shape."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.checkpoint_activations = False
        """In training, compute blocks again on the way back instead of remembering what is inside them."""
        self.conditioning = Conditioning(pooled_dim=config.pooled_dim, width=width)
        self.embed = nn.Linear(config.latent_channels + 4 * FRAME_HARMONICS, width)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.modulation = Modulation(condition_width=width, width=width, scales=1, shifts=1, gates=0)
        self.norm = AdaptiveLayerNorm(width)
        self.out = nn.Linear(width, config.latent_channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def compile_blocks(self) -> None:
        """Let torch.compile make them faster. They are alike: what is compiled for one serves all."""
        for block in self.blocks:
            block.compile()

    def forward(
        self,
        latents: Float[Tensor, "b t h w latent"],
        t: Float[Tensor, " b"],
        text: Float[Tensor, "b words text"],
        pooled: Float[Tensor, "b pooled"],
    ) -> Float[Tensor, "b t h w latent"]:
        """``t`` in [0, 1], 0 pure noise; ``text`` and ``pooled`` as TextEncoder gives them."""
        batch, *grid, _ = latents.shape
        rotation = rotary_angles(*grid, head_dim=self.config.width // self.config.heads, device=latents.device)
        place = place_in_frame(*grid, device=latents.device).expand(batch, -1, -1, -1, -1)
        condition = self.conditioning(t, pooled)
        x = self.embed(rearrange(torch.cat([latents, place], dim=-1), "b t h w c -> b (t h w) c"))
        x = x.float()  # under autocast too: what blocks add up keeps its precision
        for block in self.blocks:
            if self.checkpoint_activations and self.training:
                x = checkpoint(block, x, condition, text, rotation, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, condition, text, rotation)
        x = self.out(self.norm(x, *self.modulation(condition)))
        return rearrange(x, "b (t h w) c -> b t h w c", t=grid[0], h=grid[1], w=grid[2])


@torch.no_grad()
def widen(dit: DiT, latent_channels: int) -> DiT:
    """A transformer for latents of more channels: the first are predicted as before, and don't see the others yet.

    The others are predicted at random, so that gradients reach what is to see them: from zeros on both sides
    they would not, where the others have nothing to do with the first.
    """
    wide, before = DiT(replace(dit.config, latent_channels=latent_channels)), dit.config.latent_channels
    added = latent_channels - before
    tensors = dit.state_dict()
    latents, place = tensors["embed.weight"].tensor_split([before], dim=1)
    tensors["embed.weight"] = torch.cat([F.pad(latents, (0, added)), place], dim=1)
    others = nn.Linear(dit.config.width, added)
    tensors["out.weight"] = torch.cat([tensors["out.weight"], others.weight])
    tensors["out.bias"] = F.pad(tensors["out.bias"], (0, added))
    wide.load_state_dict(tensors)
    return wide
