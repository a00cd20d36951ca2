"""The perceptual loss: none for the same picture, more for a blurred one than for one as far away in pixels."""

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from soradit.training.perceptual import FRAMES, Sight, perceptual_loss


@pytest.fixture(scope="module")
def sight() -> Sight:
    return Sight()


def loss(sight: Sight, a: torch.Tensor, b: torch.Tensor, step: int = 0) -> torch.Tensor:
    return perceptual_loss(sight(a, step), sight(b, step))


def grain(frames: int = 4) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return (0.3 * torch.randn(1, frames, 64, 64, 3, generator=random)).clamp(-1, 1)


def blurred(video: torch.Tensor) -> torch.Tensor:
    pictures = rearrange(video, "b t h w c -> (b t) c h w")
    smooth = F.avg_pool2d(F.pad(pictures, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    return rearrange(smooth, "(b t) c h w -> b t h w c", b=len(video))


def test_channels_are_asked_for_where_the_network_is() -> None:
    sight = Sight()
    assert sight.to("meta").channels() == Sight().channels()


def test_the_same_video_costs_nothing_and_texture_lost_costs_most(sight: Sight) -> None:
    video = grain()
    assert loss(sight, video, video) == 0
    blur = blurred(video)
    shift = (blur - video).square().mean().sqrt()  # as far away in pixels
    assert loss(sight, blur, video) > 2 * loss(sight, video + shift, video) > 0


def test_frames_take_turns(sight: Sight) -> None:
    video, other = grain(), grain()
    other[:, 3] = 0
    seen = [bool(loss(sight, other, video, step)) for step in range(4)]
    assert sum(seen) == FRAMES


def test_gradients_reach_the_reconstruction_and_no_weight(sight: Sight) -> None:
    video = grain(frames=1).requires_grad_(True)
    loss(sight.train(), video, grain(frames=1) * 0.5).backward()
    assert video.grad is not None
    assert video.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in sight.parameters())
    assert not any(module.training for module in sight.network.modules())
