"""The refiner: nothing at first, a frame by itself, the same everywhere in the picture."""

import pytest
import torch

from soradit.model.autoencoder import Autoencoder, AutoencoderConfig, renew_refiner
from soradit.model.refiner import AT_ONCE, REFINER_WIDTHS, Refiner

SMALL = AutoencoderConfig(widths=(32, 48, 64), latent_channels=16)
VIDEO = torch.rand(2, AT_ONCE + 1, 64, 160, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def refiner() -> Refiner:
    """As after training: no layer is zero any more."""
    torch.manual_seed(0)
    refiner = Refiner((4, 6, 8)).requires_grad_(False)
    for parameter in refiner.parameters():
        parameter.normal_(std=0.1)
    return refiner


@pytest.mark.parametrize("widths", [(4,), (4, 6, 8)])
def test_a_new_refiner_is_the_identity_and_can_learn(widths: tuple[int, ...]) -> None:
    refiner = Refiner(widths)
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
    coarsest, reach = 2**3, 48
    moved = refiner(VIDEO.roll(coarsest, dims=3))
    inside = slice(coarsest + reach, -reach)
    torch.testing.assert_close(moved[..., inside, :], refiner(VIDEO).roll(coarsest, dims=3)[..., inside, :])


def test_each_scale_sees_further() -> None:
    """In pixels: one convolution before all and one after, two at each scale on the way down, and two on the way up."""

    def seen(widths: tuple[int, ...]) -> int:
        torch.manual_seed(0)
        refiner = Refiner(widths)
        for parameter in refiner.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        video = torch.zeros(1, 1, 64, 192, 3, requires_grad=True)
        refiner(video)[0, 0, 32, 96].sum().backward()
        assert video.grad is not None
        columns = video.grad.abs().sum((0, 1, 2, 4)).nonzero()
        return int(columns.max() - columns.min()) + 1

    assert [seen((4,)), seen((4, 6)), seen((4, 6, 8))] == [18, 44, 92]


def test_an_autoencoder_with_a_new_refiner_decodes_as_before() -> None:
    autoencoder, latents = Autoencoder(SMALL).requires_grad_(False), torch.randn(1, 2, 2, 2, 16)
    before = autoencoder.decode(latents)
    renew_refiner(autoencoder)
    assert autoencoder.config.refiner_widths == REFINER_WIDTHS
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


def test_a_token_that_cannot_be_halved_so_often_is_refused() -> None:
    with pytest.raises(ValueError, match=r"refiner_widths \(4, 4, 4, 4, 4, 4\) are too many"):
        AutoencoderConfig(refiner_widths=(4,) * 6)
