"""A discriminator learns to tell frames from reconstructions, so that the decoder learns what it is told by: texture.

Sauer et al. 2021 (Projected GANs, arXiv 2111.01007): it sees what a frozen network sees. Hinge losses are those of Lim
& Ye 2017 (Geometric GAN, arXiv 1705.02894), equations 14 and 15. Discriminator and autoencoder descend one sum in the
same step: the discriminator's loss sees reconstructions cut off from the decoder, the decoder's a frozen discriminator.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from soradit.model.autoencoder import Autoencoder
from soradit.training.perceptual import Features

DISCRIMINATOR_STAGES = (1, 3, 5, 10, 15)
"""Stages of Lite0 at strides of 2 to 32 pixels: from texture to what the picture is of."""
WIDTH = 64
DISCRIMINATOR_RATE = 5.0
"""Times the learning rate: a discriminator starts from nothing, the decoder beside it has been trained."""


class Discriminator(nn.Module):
    """Scores of all places at all stages: above zero for frames, below for reconstructions."""

    def __init__(self, channels: dict[int, int]) -> None:
        """``channels`` that each stage has."""
        super().__init__()
        self.heads = nn.ModuleDict({str(stage): _head(channels[stage]) for stage in DISCRIMINATOR_STAGES})

    def forward(self, seen: Features) -> list[Float[Tensor, "n 1 _h _w"]]:
        return [self.heads[str(stage)](seen[stage] * seen[stage].shape[1] ** 0.5) for stage in DISCRIMINATOR_STAGES]

    def loss(self, reconstructed: Features, real: Features) -> Float[Tensor, ""]:
        """What the discriminator descends; nothing of it reaches what made the reconstructions."""
        cut_off = {stage: features.detach() for stage, features in reconstructed.items()}
        pairs = zip(self(cut_off), self(real), strict=True)
        return torch.stack([F.relu(1 + false).mean() + F.relu(1 - true).mean() for false, true in pairs]).mean()

    def generator_loss(self, reconstructed: Features) -> Float[Tensor, ""]:
        """What a decoder descends, by a discriminator that stays as it is."""
        frozen = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return -torch.stack([scores.mean() for scores in functional_call(self, frozen, (reconstructed,))]).mean()


class AutoencoderGAN(nn.Module):
    """An autoencoder and its discriminator, trained together."""

    def __init__(self, autoencoder: Autoencoder, discriminator: Discriminator) -> None:
        super().__init__()
        self.autoencoder, self.discriminator = autoencoder, discriminator
        self._of_discriminator = set(map(id, discriminator.parameters()))

    def rate_of(self, parameter: nn.Parameter) -> float:
        return DISCRIMINATOR_RATE if id(parameter) in self._of_discriminator else self.autoencoder.rate_of(parameter)


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, WIDTH, kernel_size=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(WIDTH, WIDTH, kernel_size=3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(WIDTH, 1, kernel_size=1),
    )
