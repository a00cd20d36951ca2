"""Contrastive training of the text encoder."""

import math

import pytest
import torch

from soradit.training.text_encoder import VideoTower, contrastive_loss


def test_loss_of_no_preference_is_chance() -> None:
    assert contrastive_loss(torch.zeros(5, 5)).item() == pytest.approx(math.log(5))


def test_loss_of_right_pairs_is_nothing() -> None:
    right = 100 * torch.eye(4)
    assert contrastive_loss(right).item() == pytest.approx(0, abs=1e-6)
    assert contrastive_loss(right.roll(1, 0)).item() == pytest.approx(100)


def test_loss_is_symmetric_in_captions_and_clips() -> None:
    logits = torch.randn(6, 6)
    torch.testing.assert_close(contrastive_loss(logits), contrastive_loss(logits.T))


def test_video_tower_sees_order_in_time() -> None:
    torch.manual_seed(0)
    tower = VideoTower(latent_channels=4, length=3, width=16, depth=1, heads=2, out=8).eval()
    latents = torch.randn(2, 3, 2, 2, 4)
    assert tower(latents).shape == (2, 8)
    assert not torch.allclose(tower(latents), tower(latents.flip(1)), atol=1e-4)
