"""How alike two pictures look to a trained network: a loss that asks for texture where a mean would blur it.

Zhang et al. 2018 (LPIPS, arXiv 1801.03924), equation 1, with EfficientNet-Lite0 and equal weights.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from soradit.model.lite0 import Lite0

STAGES = (0, 1, 3, 5)
"""Stages of Lite0 compared, the last ones at strides of 2, 4 and 8 pixels: later ones see things, not texture."""
FRAMES = 2
"""Frames of a video that a step looks at."""

Features = dict[int, Float[Tensor, "n _c _h _w"]]
"""Features by their stage, of unit length at every place."""


class FeatureExtractor(nn.Module):
    """What Lite0's stages see in a few frames of a video."""

    def __init__(self, stages: tuple[int, ...] = STAGES) -> None:
        super().__init__()
        self.network, self.looked_at = Lite0(), stages

    def forward(self, video: Float[Tensor, "b frames height width 3"], step: int) -> Features:
        """Features of a video in [-1, 1]; the frames take turns from step to step."""
        count = video.shape[1]
        chosen = [(step + i * count // FRAMES) % count for i in range(min(FRAMES, count))]
        pictures = rearrange((video[:, chosen] + 1) * 127.5, "b t h w c -> (b t) c h w")
        stages = enumerate(self.network.stages(pictures, last=max(self.looked_at)))
        return {stage: F.normalize(x, dim=1) for stage, x in stages if stage in self.looked_at}

    def channels(self) -> dict[int, int]:
        """How many features each stage has."""
        device = next(self.parameters()).device
        return {stage: x.shape[1] for stage, x in self(torch.zeros(1, 1, 32, 32, 3, device=device), step=0).items()}


def perceptual_loss(a: Features, b: Features) -> Float[Tensor, ""]:
    """Mean squared distance of feature vectors, summed over STAGES."""
    distances = [F.mse_loss(a[stage], b[stage], reduction="sum") / a[stage][:, 0].numel() for stage in STAGES]
    return torch.stack(distances).sum()
