"""The perceptual loss: none for the same picture, more for a blurred one than for one as far away in pixels."""

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from soradit.training.perceptual import FRAMES, FeatureExtractor, perceptual_loss


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor()


def loss(extractor: FeatureExtractor, a: torch.Tensor, b: torch.Tensor, step: int = 0) -> torch.Tensor:
    return perceptual_loss(extractor(a, step), extractor(b, step))


def grain(frames: int = 4) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return (0.3 * torch.randn(1, frames, 64, 64, 3, generator=random)).clamp(-1, 1)


def blurred(video: torch.Tensor) -> torch.Tensor:
    pictures = rearrange(video, "b t h w c -> (b t) c h w")
    smooth = F.avg_pool2d(F.pad(pictures, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    return rearrange(smooth, "(b t) c h w -> b t h w c", b=len(video))


def test_channels_are_asked_for_where_the_network_is() -> None:
    extractor = FeatureExtractor()
    assert extractor.to("meta").channels() == FeatureExtractor().channels()


def test_the_same_video_costs_nothing_and_texture_lost_costs_most(extractor: FeatureExtractor) -> None:
    video = grain()
    assert loss(extractor, video, video) == 0
    blur = blurred(video)
    shift = (blur - video).square().mean().sqrt()  # as far away in pixels
    assert loss(extractor, blur, video) > 2 * loss(extractor, video + shift, video) > 0


def test_frames_take_turns(extractor: FeatureExtractor) -> None:
    video, other = grain(), grain()
    other[:, 3] = 0
    seen = [bool(loss(extractor, other, video, step)) for step in range(4)]
    assert sum(seen) == FRAMES


def test_gradients_reach_the_reconstruction_and_no_weight(extractor: FeatureExtractor) -> None:
    video = grain(frames=1).requires_grad_(True)
    loss(extractor.train(), video, grain(frames=1) * 0.5).backward()
    assert video.grad is not None
    assert video.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in extractor.parameters())
    assert not any(module.training for module in extractor.network.modules())
