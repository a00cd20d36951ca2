"""From timestep and text to scale, shift and gate: steps 5 and 6.

Peebles & Xie 2023 (DiT, arXiv 2212.09748), section 3.2, adaLN-Zero.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

TIMESTEP_FREQUENCIES = 256

PromptEmbedding = tuple[Float[Tensor, "b words text"], Float[Tensor, "b pooled"]]
"""A text encoder's last hidden states, one a token, and its projected pooled embedding of unit mean square."""


def timestep_embedding(t: Float[Tensor, " batch"], dim: int = TIMESTEP_FREQUENCIES) -> Float[Tensor, "batch {dim}"]:
    """Sines and cosines of t in [0, 1], taken as t * 1000 (Vaswani et al. 2017, section 3.5)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    angles = 1000 * t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def concatenate_conditions(*encoded: Float[Tensor, "b _"]) -> Float[Tensor, "b condition"]:
    """The encodings in one vector, in the order in which they are given: step 5."""
    return torch.cat(encoded, dim=-1)


class Conditioning(nn.Module):
    """Timestep encoding and text embedding, concatenated: step 5."""

    def __init__(self, *, pooled_dim: int, width: int) -> None:
        super().__init__()
        half = width // 2
        self.timestep = nn.Sequential(nn.Linear(TIMESTEP_FREQUENCIES, half), nn.SiLU(), nn.Linear(half, half))
        self.text = nn.Linear(pooled_dim, width - half)

    def forward(self, t: Float[Tensor, " b"], pooled: Float[Tensor, "b pooled"]) -> Float[Tensor, "b width"]:
        # The embedding is computed in float32; under autocast the linear layers choose their own precision.
        return F.silu(concatenate_conditions(self.timestep(timestep_embedding(t)), self.text(pooled)))


class Modulation(nn.Module):
    """By weights and bias, the conditions estimate scales, shifts and gates: step 6.

    At initialisation every scale is 1, every shift and gate 0, whatever the conditions: a block whose gates are 0
    is the identity (adaLN-Zero).
    """

    def __init__(self, *, condition_width: int, width: int, scales: int, shifts: int, gates: int) -> None:
        super().__init__()
        self.parts = scales + shifts + gates
        self.estimate = nn.Linear(condition_width, self.parts * width)
        nn.init.zeros_(self.estimate.weight)
        with torch.no_grad():
            self.estimate.bias.zero_()[: scales * width] = 1.0

    def forward(self, condition: Float[Tensor, "b condition"]) -> tuple[Float[Tensor, "b 1 width"], ...]:
        """Scales first, then shifts, then gates, each ready to be broadcast over tokens."""
        return self.estimate(condition)[:, None].chunk(self.parts, dim=-1)
