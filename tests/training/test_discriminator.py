"""The discriminator: its loss teaches it alone, the decoder's the decoder alone, and both mean what they say."""

import pytest
import torch

from soradit.training.discriminator import DISCRIMINATOR_STAGES, Discriminator
from soradit.training.perceptual import FeatureExtractor, Features

CHANNELS = dict.fromkeys(DISCRIMINATOR_STAGES, 8)


@pytest.fixture
def discriminator() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(CHANNELS)


def features(mean: float, seed: int) -> Features:
    random = torch.Generator().manual_seed(seed)
    return {stage: mean + torch.randn(2, 8, 4, 4, generator=random) for stage in DISCRIMINATOR_STAGES}


def tracked(seen: Features) -> Features:
    return {stage: x.requires_grad_(True) for stage, x in seen.items()}


def test_the_discriminators_loss_reaches_the_discriminator_alone(discriminator: Discriminator) -> None:
    reconstructed = tracked(features(-0.5, seed=1))
    discriminator.loss(reconstructed, features(0.5, seed=2)).backward()
    assert all(parameter.grad is not None for parameter in discriminator.parameters())
    assert all(x.grad is None for x in reconstructed.values())


def test_generator_loss_reaches_the_reconstruction_alone(discriminator: Discriminator) -> None:
    reconstructed = tracked(features(-0.5, seed=1))
    discriminator.generator_loss(reconstructed).backward()
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in reconstructed.values())


def test_a_discriminator_learns_and_then_believes_what_is_like_the_real(discriminator: Discriminator) -> None:
    optimizer = torch.optim.AdamW(discriminator.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        loss = discriminator.loss(features(-0.5, seed=2 * step), features(0.5, seed=2 * step + 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1.5
    assert losses[-1] < 0.5
    assert (
        discriminator.generator_loss(features(0.5, seed=1000))
        < -0.5
        < 0.5
        < discriminator.generator_loss(features(-0.5, seed=1001))
    )


def test_a_discriminator_sees_what_lite0_sees() -> None:
    extractor = FeatureExtractor(DISCRIMINATOR_STAGES)
    scores = Discriminator(extractor.channels())(extractor(torch.zeros(1, 4, 64, 64, 3), step=0))
    assert [tuple(each.shape) for each in scores] == [(2, 1, size, size) for size in (32, 16, 8, 4, 2)]
