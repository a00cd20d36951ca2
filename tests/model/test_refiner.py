"""The refiner: nothing at first, a frame by itself, the same everywhere in the picture."""

import pytest
import torch

from soradit.model.autoencoder import Autoencoder, AutoencoderConfig, renew_refiner
from soradit.model.refiner import AT_ONCE, REFINER_WIDTH, SHRINK, Refiner

SMALL = AutoencoderConfig(widths=(32, 48, 64), latent_channels=16)
VIDEO = torch.rand(2, AT_ONCE + 1, 64, 160, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def refiner() -> Refiner:
    """As after training: no layer is zero any more."""
    torch.manual_seed(0)
    refiner = Refiner(4).requires_grad_(False)
    for parameter in refiner.parameters():
        parameter.normal_(std=0.1)
    return refiner


def test_a_new_refiner_is_the_identity_and_can_learn() -> None:
    refiner = Refiner(4)
    refined = refiner(VIDEO)
    assert torch.equal(refined, VIDEO)
    refined.square().sum().backward()
    assert refiner.to_pixels.weight.grad is not None
    assert refiner.to_pixels.weight.grad.abs().max() > 0


def test_a_frame_is_refined_by_itself(refiner: Refiner) -> None:
    refined = refiner(VIDEO)
    assert not torch.allclose(refined, VIDEO, atol=1e-2)
    frames = [refiner(VIDEO[:, [frame]]) for frame in range(VIDEO.shape[1])]
    torch.testing.assert_close(torch.cat(frames, dim=1), refined)


def test_it_is_the_same_everywhere_in_the_picture(refiner: Refiner) -> None:
    moved = refiner(VIDEO.roll(SHRINK, dims=3))
    inside = slice(SHRINK + 12, -12)
    torch.testing.assert_close(moved[..., inside, :], refiner(VIDEO).roll(SHRINK, dims=3)[..., inside, :])


def test_a_pixel_depends_on_the_26_around_it(refiner: Refiner) -> None:
    video = torch.zeros(1, 1, 64, 64, 3, requires_grad=True)
    refiner(video)[0, 0, 32, 32].sum().backward()
    assert video.grad is not None
    rows, columns = video.grad.abs().sum((0, 1, 4)).nonzero().T
    assert [int(x.max() - x.min()) + 1 for x in (rows, columns)] == [26, 26]


def test_an_autoencoder_with_a_new_refiner_decodes_as_before() -> None:
    autoencoder, latents = Autoencoder(SMALL).requires_grad_(False), torch.randn(1, 2, 2, 2, 16)
    before = autoencoder.decode(latents)
    renew_refiner(autoencoder)
    assert autoencoder.config.refiner_width == REFINER_WIDTH
    assert torch.equal(autoencoder.decode(latents), before)
    torch.nn.init.normal_(autoencoder.decoder.refiner.to_pixels.weight)
    assert not torch.allclose(autoencoder.decode(latents), before)
    assert torch.equal(autoencoder.preview(latents), before)
    renew_refiner(autoencoder)
    assert torch.equal(autoencoder.decode(latents), before)


def test_latents_that_stand_around_those_shown_are_decoded_with_them() -> None:
    autoencoder, latents = Autoencoder(SMALL).requires_grad_(False), torch.randn(1, 5, 2, 2, 16)
    renew_refiner(autoencoder)
    torch.nn.init.normal_(autoencoder.decoder.refiner.to_pixels.weight)
    torch.testing.assert_close(autoencoder.decode(latents, slice(1, 3)), autoencoder.decode(latents)[:, 4:12])


def test_what_cannot_be_refined_is_refused() -> None:
    with pytest.raises(ValueError, match="refiner_width must be 0 or more, not -1"):
        AutoencoderConfig(refiner_width=-1)
    with pytest.raises(ValueError, match=r"tokens of even height and width, not \(8, 5\)"):
        AutoencoderConfig(patch_size=(4, 8, 5), widths=(32,), refiner_width=4)
