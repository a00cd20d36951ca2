"""A U-Net on decoded frames, to take off what compression leaves behind, such as ringing around edges: step 13."""

import itertools

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

SHRINK = 2
"""By how much height and width are smaller at the first scale; each scale after it halves them again."""
REFINER_WIDTHS = (24, 48, 96)
"""Features at each scale of a new refiner."""
AT_ONCE = 4
"""Pictures; what is in between of 32 of 256x256 pixels leaves a processor's cache, and takes half as long again."""


class ConvolutionBlock(nn.Module):
    """Two convolutions whose result is added; the identity at initialisation (He et al. 2016, arXiv 1603.05027)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.second = nn.Conv2d(width, width, kernel_size=3, padding=1)
        _silence(self.second)

    def forward(self, x: Float[Tensor, "n width h w"]) -> Float[Tensor, "n width h w"]:
        return x + self.second(F.silu(self.first(x)))


class Refiner(nn.Module):
    """Adds to each frame what its surroundings, seen at several scales, say about it; the identity at initialisation.

    A U-Net (Ronneberger et al. 2015, arXiv 1505.04597), of residual blocks and with skips that are added, on pictures
    whose pixels are folded into channels (Shi et al. 2016, arXiv 1609.05158). A frame is refined by itself.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        """``widths`` are the features at each scale."""
        super().__init__()
        folded, scales = 3 * SHRINK**2, list(itertools.pairwise(widths))
        self.project = nn.Conv2d(folded, widths[0], kernel_size=3, padding=1)
        self.down_blocks = nn.ModuleList([ConvolutionBlock(width) for width in widths])
        self.down = nn.ModuleList([nn.Conv2d(fine, coarse, kernel_size=2, stride=2) for fine, coarse in scales])
        self.up = nn.ModuleList([nn.ConvTranspose2d(coarse, fine, kernel_size=2, stride=2) for fine, coarse in scales])
        self.up_blocks = nn.ModuleList([ConvolutionBlock(fine) for fine, _ in scales])
        self.to_pixels = nn.Conv2d(widths[0], folded, kernel_size=3, padding=1)
        _silence(self.to_pixels)

    def forward(self, video: Float[Tensor, "b frames height width 3"]) -> Float[Tensor, "b frames height width 3"]:
        pictures = rearrange(video, "b t h w c -> (b t) c h w")
        refined = torch.cat([part + self._correction(part) for part in pictures.split(AT_ONCE)])
        return rearrange(refined, "(b t) c h w -> b t h w c", b=len(video))

    def _correction(self, pictures: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n 3 height width"]:
        folded = F.pixel_unshuffle(pictures, SHRINK).contiguous(memory_format=torch.channels_last)
        x, finer = self.down_blocks[0](self.project(folded)), []
        for down, block in zip(self.down, self.down_blocks[1:], strict=True):
            finer.append(x)
            x = block(down(x))
        for up, block in zip(reversed(self.up), reversed(self.up_blocks), strict=True):
            x = block(up(x) + finer.pop())
        return F.pixel_shuffle(self.to_pixels(x), SHRINK)


def _silence(convolution: nn.Conv2d) -> None:
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)
