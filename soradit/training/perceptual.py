"""How alike two pictures look to a trained network: a loss that asks for texture where a mean would blur it.

Zhang et al. 2018 (LPIPS, arXiv 1801.03924), equation 1, with EfficientNet-Lite0 and equal weights.
"""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from soradit.model.lite0 import Lite0

STAGES = (0, 1, 3, 5)
"""Of Lite0, compared: the last ones at strides of 2, 4 and 8 pixels. Later ones see things, not texture."""
FRAMES = 2
"""Of a video, compared at a step."""


class PerceptualLoss(nn.Module):
    """Mean squared distance of unit feature vectors, summed over stages, on a few frames a step."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Lite0()

    def forward(
        self,
        reconstruction: Float[Tensor, "b frames height width 3"],
        video: Float[Tensor, "b frames height width 3"],
        step: int,
    ) -> Float[Tensor, ""]:
        """Of videos in [-1, 1]; the frames take turns from step to step."""
        count = video.shape[1]
        chosen = [(step + i * count // FRAMES) % count for i in range(min(FRAMES, count))]
        pairs = zip(self._features(reconstruction[:, chosen]), self._features(video[:, chosen]), strict=True)
        return sum((F.mse_loss(a, b, reduction="sum") / a[:, 0].numel() for a, b in pairs), start=video.new_zeros(()))

    def _features(self, video: Float[Tensor, "b frames height width 3"]) -> list[Float[Tensor, "n c h w"]]:
        pictures = rearrange((video + 1) * 127.5, "b t h w c -> (b t) c h w")
        stages = enumerate(self.network.stages(pictures, last=max(STAGES)))
        return [F.normalize(x, dim=1) for stage, x in stages if stage in STAGES]
