"""The critic: its loss teaches it alone, the decoder's teaches the decoder alone, and both mean what they say."""

import pytest
import torch

from soradit.training.critic import CRITIC_STAGES, Critic
from soradit.training.perceptual import Seen, Sight

CHANNELS = dict.fromkeys(CRITIC_STAGES, 8)


@pytest.fixture
def critic() -> Critic:
    torch.manual_seed(0)
    return Critic(CHANNELS)


def features(mean: float, seed: int) -> Seen:
    random = torch.Generator().manual_seed(seed)
    return {stage: mean + torch.randn(2, 8, 4, 4, generator=random) for stage in CRITIC_STAGES}


def tracked(seen: Seen) -> Seen:
    return {stage: x.requires_grad_(True) for stage, x in seen.items()}


def test_the_critics_loss_reaches_the_critic_alone(critic: Critic) -> None:
    reconstructed = tracked(features(-0.5, seed=1))
    critic.loss(reconstructed, features(0.5, seed=2)).backward()
    assert all(parameter.grad is not None for parameter in critic.parameters())
    assert all(x.grad is None for x in reconstructed.values())


def test_disbelief_reaches_the_reconstruction_alone(critic: Critic) -> None:
    reconstructed = tracked(features(-0.5, seed=1))
    critic.disbelief(reconstructed).backward()
    assert all(parameter.grad is None for parameter in critic.parameters())
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in reconstructed.values())


def test_a_critic_learns_and_then_believes_what_is_like_the_real(critic: Critic) -> None:
    optimizer = torch.optim.AdamW(critic.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        loss = critic.loss(features(-0.5, seed=2 * step), features(0.5, seed=2 * step + 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1.5
    assert losses[-1] < 0.5
    assert critic.disbelief(features(0.5, seed=1000)) < -0.5 < 0.5 < critic.disbelief(features(-0.5, seed=1001))


def test_a_critic_sees_what_lite0_sees() -> None:
    sight = Sight(CRITIC_STAGES)
    scores = Critic(sight.channels())(sight(torch.zeros(1, 4, 64, 64, 3), step=0))
    assert [tuple(each.shape) for each in scores] == [(2, 1, size, size) for size in (32, 16, 8, 4, 2)]
