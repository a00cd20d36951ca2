"""The autoencoder: step 3 by hand, a start at a PCA, neighbours that see each other, normalised latents."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from soradit.errors import SoraditError
from soradit.media.patches import patchify, unpatchify
from soradit.model.autoencoder import (
    LEVELLED,
    Autoencoder,
    AutoencoderConfig,
    Decoder,
    ResidualBlock,
    level_borders,
    to_float,
    to_uint8,
)
from soradit.model.fitting import fit_autoencoder, fit_decoder

SMALL = AutoencoderConfig(widths=(32, 48, 64), blocks_per_stage=1, latent_channels=16)


def randomised(config: AutoencoderConfig = SMALL) -> Autoencoder:
    """As after training: no layer is zero any more."""
    torch.manual_seed(0)
    model = Autoencoder(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model.eval()


def waves(clips: int = 8, frames: int = 8, height: int = 64, width: int = 96) -> Tensor:
    """Smooth moving patterns of random direction, speed and colour, in [-1, 1]."""
    random = torch.Generator().manual_seed(1)
    t, y, x = torch.meshgrid(torch.arange(frames), torch.arange(height), torch.arange(width), indexing="ij")
    a, b, c, phase = (torch.rand(4, clips, 1, 1, 1, 3, generator=random) - 0.5) * torch.tensor(
        [0.5, 0.2, 0.2, 6.0]
    ).view(4, 1, 1, 1, 1, 1)
    return (a * t[..., None] + b * y[..., None] + c * x[..., None] + phase).sin() * 0.8


def test_first_layer_is_weights_times_patch_plus_bias_then_relu() -> None:
    model = randomised()
    video = torch.rand(1, 4, 32, 32, 3) * 2 - 1
    weight, bias = (p.detach().double().numpy() for p in (model.encoder.project.weight, model.encoder.project.bias))
    patch = [
        video[0, frame, 8 + y, 16 + x, colour].item()
        for frame in range(4)
        for y in range(8)
        for x in range(8)
        for colour in range(3)
    ]
    expected = [
        max(0.0, sum(w * p for w, p in zip(row, patch, strict=True)) + b) for row, b in zip(weight, bias, strict=True)
    ]
    actual = model.encoder.project(patchify(video, (4, 8, 8)))[0, 0, 1, 2]
    assert 0 < np.count_nonzero(expected) < len(expected)
    np.testing.assert_allclose(actual.detach().numpy(), expected, atol=1e-5)


def test_residual_block_is_the_identity_at_first() -> None:
    x = torch.randn(2, 3, 4, 5, 16)
    assert torch.equal(ResidualBlock(16)(x), x)


@pytest.mark.parametrize("grid", [(1, 1, 1), (2, 3, 1), (1, 2, 4)])
def test_a_latent_vector_stands_for_a_token_of_pixels(grid: tuple[int, int, int]) -> None:
    model = randomised()
    t, h, w = (unit * count for unit, count in zip((4, 32, 32), grid, strict=True))
    latents = model.encode(torch.zeros(2, t, h, w, 3))
    assert latents.shape == (2, *grid, 16)
    decoded = model.decode(latents)
    assert decoded.shape == (2, t, h, w, 3)
    assert decoded.abs().max() <= 1


def test_fitted_reconstruction_is_as_good_as_a_pca() -> None:
    videos = to_uint8(waves())
    video = to_float(videos)
    model = Autoencoder(AutoencoderConfig(widths=(96, 192, 256), blocks_per_stage=1, latent_channels=16))
    fit_autoencoder(model, videos, seed=0)
    with torch.no_grad():
        error = (model.decoder(model.encoder(video)) - video).square().mean().item()
    patches = patchify(video, (4, 32, 32))
    flat = patches.flatten(0, 3)
    mean = flat.mean(0)
    directions = torch.linalg.svd(flat - mean, full_matrices=False).Vh[:16]
    pca = unpatchify(((flat - mean) @ directions.T @ directions + mean).view_as(patches), (4, 32, 32))
    pca_error = (pca - video).square().mean().item()
    assert pca_error > 1e-4
    assert error <= 1.1 * pca_error


def test_a_decoder_is_fitted_to_an_encoder_as_it_is() -> None:
    videos = to_uint8(waves())
    model = Autoencoder(AutoencoderConfig(widths=(96, 192), blocks_per_stage=1, latent_channels=16))
    fit_autoencoder(model, videos, seed=0)
    latents = model.encoder(to_float(videos))
    error = (model.decoder(latents) - to_float(videos)).square().mean()
    model.decoder = Decoder(model.config)
    fit_decoder(model, videos, seed=1)
    assert torch.equal(model.encoder(to_float(videos)), latents)
    assert (model.decoder(latents) - to_float(videos)).square().mean() <= 1.1 * error


@pytest.mark.parametrize("channels", [16, 20])
def test_a_fresh_encoder_s_first_latents_are_turned_towards_those_of_another(channels: int) -> None:
    videos = to_uint8(waves())
    before, after = Autoencoder(SMALL), Autoencoder(replace(SMALL, latent_channels=channels))
    fit_autoencoder(before, videos, seed=0)
    with torch.no_grad():
        wanted = before.encode(to_float(videos)).flatten(0, 3)
        fit_autoencoder(after, videos, seed=1)
        unturned = after.encode(to_float(videos)).flatten(0, 3)[:, :16]
        fit_autoencoder(after, videos, seed=1, like=before)
        turned = after.encode(to_float(videos)).flatten(0, 3)[:, :16]
    torch.testing.assert_close(turned / turned.std(), wanted / wanted.std(), atol=0.02, rtol=0)
    assert (unturned - wanted).square().mean() > wanted.square().mean()
    assert (after.decode(after.encode(to_float(videos))) - to_float(videos)).square().mean() < 1e-3


def test_fitting_is_the_same_for_the_same_seed() -> None:
    first, second = Autoencoder(SMALL), Autoencoder(SMALL)
    second.load_state_dict(first.state_dict())
    for model in (first, second):
        fit_autoencoder(model, to_uint8(waves(4)), seed=3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_neighbouring_patches_see_each_other() -> None:
    model = randomised()
    video = torch.zeros(1, 8, 64, 64, 3)
    changed = video.clone()
    changed[0, 2, 5, 6] = 1.0  # in the first token
    moved = (model.encode(changed) - model.encode(video)).abs().amax(-1)[0]
    assert (moved > 0).all()  # next to it in time, height, width, and across corners


def test_normalise_and_denormalise_are_inverse() -> None:
    model = Autoencoder(AutoencoderConfig(latent_channels=3, latent_mean=(1.0, -2.0, 0.5), latent_std=(0.1, 1.0, 20.0)))
    latents = torch.randn(2, 1, 4, 4, 3) * model.latent_std + model.latent_mean
    normal = model.normalise(latents)
    torch.testing.assert_close(model.denormalise(normal), latents)
    torch.testing.assert_close(normal[..., 1], latents[..., 1] + 2)


@pytest.mark.parametrize(
    ("shape", "unit", "value"), [((6, 32, 32), 4, 6), ((4, 40, 32), 32, 40), ((4, 32, 16), 32, 16)]
)
def test_a_size_that_does_not_fit_is_named(shape: tuple[int, int, int], unit: int, value: int) -> None:
    with pytest.raises(SoraditError, match=rf" {value} is not a multiple of {unit}: use"):
        Autoencoder(SMALL).encode(torch.zeros(1, *shape, 3))


@pytest.mark.parametrize(
    "wrong",
    [{"patch_size": (4, 8)}, {"patch_size": (4, 0, 8)}, {"latent_channels": 4, "latent_mean": (1.0, 2.0)}],
)
def test_a_config_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises((ValueError, TypeError)):
        AutoencoderConfig(**wrong)


def test_pixels_survive_the_way_to_float_and_back() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert (to_float(every).min(), to_float(every).max()) == (-1, 1)
    assert torch.equal(to_uint8(to_float(every)), every)
    assert to_uint8(torch.tensor([-1.5, 1.5])).tolist() == [0, 255]


def test_level_borders_removes_a_share_of_a_step_between_tokens() -> None:
    ramp = torch.linspace(-0.5, 0.5, 64).view(1, 1, 1, 64, 1).repeat(1, 4, 32, 1, 3)
    stepped = ramp.clone()
    stepped[..., 32:, :] += 0.02
    levelled = level_borders(stepped, (4, 32, 32))
    slope = levelled.diff(dim=3)[0, 0, 0, :, 0]
    torch.testing.assert_close(slope[31], slope[0] + (1 - LEVELLED[2]) * 0.02, atol=1e-6, rtol=0)
    assert torch.equal(levelled[..., :28, :], stepped[..., :28, :])
    assert torch.equal(levelled[..., 36:, :], stepped[..., 36:, :])


def test_level_borders_leaves_a_smooth_video_and_single_tokens_alone() -> None:
    smooth = torch.linspace(-1, 1, 96).view(1, 1, 1, 96, 1).repeat(1, 8, 64, 1, 3)
    torch.testing.assert_close(level_borders(smooth, (4, 32, 32)), smooth)
    token = torch.rand(2, 4, 32, 32, 3)
    assert torch.equal(level_borders(token, (4, 32, 32)), token)


def test_level_borders_keeps_the_pictures_own_edges() -> None:
    edge = torch.zeros(1, 4, 32, 64, 3)
    edge[..., 32:, :] = 1.0
    assert level_borders(edge, (4, 32, 32)).diff(dim=3)[..., 31, :].min() >= 0.9
