"""Root mean square norm (Zhang & Sennrich 2019, arXiv 1910.07467, equation 4)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """In the precision of what it is given, so that under autocast too it is a single kernel."""

    def forward(self, x: Float[Tensor, "*b dim"]) -> Float[Tensor, "*b dim"]:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
