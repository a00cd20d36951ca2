"""Convolutions on decoded frames, to take off what compression leaves behind, such as ringing around edges: step 13."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

REFINER_WIDTH = 32
"""Features of a new refiner."""
LAYERS = 4
SHRINK = 2
"""By how much height and width of the features are smaller than the picture's."""
AT_ONCE = 2
"""Pictures; what is in between of 32 of 256x256 pixels leaves a processor's cache, and takes 2.7 times as long."""


class Refiner(nn.Module):
    """Adds to each frame what the 26 x 26 pixels around a place say about it; the identity at initialisation.

    Residual layers (He et al. 2016, arXiv 1603.05027) on pictures whose pixels are folded into channels (Shi et al.
    2016, arXiv 1609.05158). A frame is refined by itself.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        folded = 3 * SHRINK**2
        self.project = _convolution(folded, width)
        self.layers = nn.ModuleList([_convolution(width, width) for _ in range(LAYERS)])
        self.to_pixels = _convolution(width, folded)
        for parameter in self.to_pixels.parameters():
            nn.init.zeros_(parameter)

    def forward(self, video: Float[Tensor, "b frames height width 3"]) -> Float[Tensor, "b frames height width 3"]:
        pictures = rearrange(video, "b t h w c -> (b t) c h w")
        refined = torch.cat([part + self._correction(part) for part in pictures.split(AT_ONCE)])
        return rearrange(refined, "(b t) c h w -> b t h w c", b=len(video))

    def _correction(self, pictures: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n 3 height width"]:
        folded = F.pixel_unshuffle(pictures, SHRINK).contiguous(memory_format=torch.channels_last)
        x = self.project(folded)
        for layer in self.layers:
            x = x + layer(F.silu(x))
        return F.pixel_shuffle(self.to_pixels(F.silu(x)), SHRINK)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
