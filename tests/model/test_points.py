"""Points of light: found where they are and only there, drawn as they were, and latents that hold them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from soradit.model.autoencoder import Autoencoder, AutoencoderConfig, to_uint8, with_points
from soradit.model.points import FAINTEST, GAIN, draw_points, find_points, top_hat
from soradit.model.slices import decode_in_slices
from soradit.model.weights import encoder_fingerprint, save_autoencoder

PATCH = (4, 8, 8)
CONFIG = AutoencoderConfig(widths=(32, 48, 64), latent_channels=16, latent_mean=(0.3,) * 16, latent_std=(2.0,) * 16)


def sky(brightness: float = -0.9, frames: int = 4, height: int = 32, width: int = 64) -> Tensor:
    return torch.full((1, frames, height, width, 3), brightness)


def night(*stars: tuple[int, int, float]) -> Tensor:
    """Stars one pixel wide: row, column, and by how much they are brighter than the sky."""
    video = sky()
    for row, column, brightness in stars:
        video[:, :, row, column] += brightness
    return video


def test_a_star_is_found_where_it_is_and_as_bright_as_it_is() -> None:
    points = find_points(night((9, 30, 0.8)), PATCH)[0, 0]
    strength, down, right = points[1, 3] / GAIN
    assert strength.item() ** 2 == pytest.approx(0.8)
    assert (down / strength).item() == pytest.approx((9 - 8 + 0.5) / 4 - 1)
    assert (right / strength).item() == pytest.approx((30 - 24 + 0.5) / 4 - 1)
    assert points.count_nonzero() == 3


def test_of_two_stars_in_a_patch_the_brighter_is_kept() -> None:
    both, alone = night((9, 30, 0.8), (14, 25, 0.4)), night((9, 30, 0.8))
    assert torch.equal(find_points(both, PATCH), find_points(alone, PATCH))


def test_a_flash_is_as_bright_as_in_the_mean_of_the_frames() -> None:
    video = sky()
    video[:, 2, 9, 30] = 0.7
    assert find_points(video, PATCH)[0, 0, 1, 3, 0].item() == pytest.approx(GAIN * (1.6 / 4) ** 0.5)


def test_what_is_large_long_smooth_dark_or_faint_is_no_point() -> None:
    moon, edge, mast, horizon, hole = night(), night(), night(), night(), night()
    moon[:, :, 10:15, 20:25] = 1
    edge[:, :, :, 32:] = 1
    mast[:, :, 10:20, 30] = 1
    horizon[:, :, 20, 3:50] = 1
    hole[:, :, 9, 30] = -1
    for video in (moon, edge, mast, horizon, hole):
        assert top_hat(video).abs().max() < 1e-6
    slope = torch.linspace(-1, 1, 64)[None, None, None, :, None].expand(1, 4, 32, 64, 3)
    for video in (moon, edge, mast, horizon, hole, slope, night((9, 30, FAINTEST * 0.9))):
        assert not find_points(video, PATCH).any()


def test_drawn_points_are_found_again() -> None:
    points = find_points(night((3, 5, 0.5), (9, 30, 0.8), (20, 50, 1.4)), PATCH)
    again = find_points(sky() + draw_points(points, PATCH), PATCH)
    torch.testing.assert_close(again, points, rtol=0.01, atol=1e-3)


def test_a_point_on_a_border_is_drawn_across_it() -> None:
    points = torch.zeros(1, 1, 2, 2, 3)
    points[0, 0, 0, 0] = GAIN * torch.tensor([1.0, 0.0, 1.0])  # the right end of the first patch
    row = draw_points(points, PATCH)[0, 0, 4, :, 0]
    torch.testing.assert_close(row[:8], row[8:].flip(0), rtol=0, atol=1e-3)
    assert row[7] > 0.4


@pytest.mark.parametrize("strength", [-1.0, 0.0])
def test_no_point_draws_nothing(strength: float) -> None:
    points = torch.zeros(1, 1, 2, 2, 3)
    points[..., 0], points[..., 1:] = strength, 5.0
    assert not draw_points(points, PATCH).any()


def test_gradients_are_finite_however_weak_a_point_is() -> None:
    points = torch.tensor([0.0, 1e-30, 1e-7, -1.0, 2.0]).view(1, 1, 1, 5, 1).repeat(1, 1, 1, 1, 3).requires_grad_(True)
    draw_points(points, PATCH).square().sum().backward()
    assert points.grad.isfinite().all()


def test_an_autoencoder_with_points_is_the_same_for_the_rest() -> None:
    torch.manual_seed(0)
    before = Autoencoder(CONFIG).eval().requires_grad_(False)
    after = with_points(before)
    video = night((9, 30, 1.2))
    plain, latents = before.encode(video), after.encode(video)
    assert latents.shape[-1] == 16 + 16 * 3
    assert torch.equal(latents[..., :16], plain)
    drawn = after.decoder(after.denormalise(latents)) - before.decoder(before.denormalise(plain))
    assert drawn[0, 0, 9, 30].mean().item() == pytest.approx(1.2, rel=1e-3)
    assert drawn[0, :, 20:].abs().max() < 1e-6
    assert with_points(after) is after


def test_latents_with_points_are_kept_by_what_points_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Autoencoder(CONFIG)
    fingerprints = []
    for version, model in itertools.product((1, 2), (plain, with_points(plain))):
        monkeypatch.setattr("soradit.model.weights.POINTS_VERSION", version)
        save_autoencoder(tmp_path, model.config, model.state_dict())
        fingerprints.append(encoder_fingerprint(tmp_path))
    assert fingerprints[0] == fingerprints[2]
    assert len(set(fingerprints)) == 3


def test_points_are_drawn_in_slices_as_at_once() -> None:
    model = with_points(Autoencoder(CONFIG).eval().requires_grad_(False))
    video = sky(frames=48)
    video[:, 20:28, 9, 30] = 1
    latents = model.encode(video)
    at_once = to_uint8(model.decode(latents))[0].numpy()
    np.testing.assert_allclose(decode_in_slices(model, latents[0]), at_once, atol=1)
    assert at_once[20, 9, 30].min() > at_once[16, 9, 30].max()


def test_points_know_their_place_in_a_token() -> None:
    """Patches of a token, in rows: each star appears in the same place that it was in."""
    model = with_points(Autoencoder(CONFIG).eval().requires_grad_(False))
    video = night(*[(8 * row + 2, 8 * column + 5, 1.0) for row, column in ((0, 0), (1, 6), (3, 2))])
    latents = model.encoder(video)
    latents[..., :16] = 0
    drawn = (model.decoder(latents) - model.decoder(torch.zeros_like(latents)))[0, 0, ..., 0]
    assert torch.equal(drawn > 0.5, video[0, 0, ..., 0] > 0)
