"""What a rendered clip promises: repeatable pixels, colours of the hour, clouds that go where the scene says."""

from dataclasses import replace

import numpy as np
import pytest

from soradit.skies.atmosphere import direction
from soradit.skies.clouds import CloudField
from soradit.skies.render import render
from soradit.skies.scene import HOURS, Drift, Hour, Scene, draw_scene

_SUN_ELEVATION: dict[Hour, float] = {"night": -30.0, "noon": 55.0, "sunset": 2.0, "dusk": -6.0}


def _scene(hour: Hour = "noon", drift: Drift = "right") -> Scene:
    return Scene(
        seed=3,
        hour=hour,
        sun_elevation=_SUN_ELEVATION[hour],
        sun_elevation_rate=0.0,
        sun_azimuth=10.0,
        turbidity=2.0,
        moon="none",
        moon_elevation=25.0,
        moon_azimuth=0.0,
        clouds="broken",
        cloud_cover=0.5,
        drift=drift,
        drift_speed="moderate",
        drift_rate=0.06,
        stars=hour == "night",
        mist=False,
        horizon="none",
        horizon_row=1.05,
        field_of_view=60.0,
    )


def _shift(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """(down, right) in pixels from one grey frame to the next, by phase correlation (Kuglin and Hines 1975)."""
    window = np.hanning(before.shape[0])[:, None] * np.hanning(before.shape[1])
    spectra = [np.fft.fft2((frame - frame.mean()) * window) for frame in (before, after)]
    cross = np.conj(spectra[0]) * spectra[1]
    correlation = np.fft.ifft2(cross / (np.abs(cross) + 1e-9)).real
    peak = np.unravel_index(int(correlation.argmax()), correlation.shape)
    down, right = (p if p < n / 2 else p - n for p, n in zip(peak, correlation.shape, strict=True))
    return float(down), float(right)


def test_same_scene_same_pixels() -> None:
    clips = [render(draw_scene(7), num_frames=3, height=48, width=64, fps=16) for _ in range(2)]
    assert clips[0].shape == (3, 48, 64, 3)
    assert clips[0].dtype == np.uint8
    assert np.array_equal(*clips)


def test_different_seeds_differ() -> None:
    scene = _scene()
    first, second = (render(replace(scene, seed=seed), num_frames=1, height=48, width=48, fps=16) for seed in (1, 2))
    assert np.abs(first.astype(int) - second).mean() > 5


def test_night_is_darker_than_dusk_and_dusk_than_noon() -> None:
    night, dusk, noon = (
        render(_scene(hour), num_frames=1, height=64, width=64, fps=16).mean() for hour in ("night", "dusk", "noon")
    )
    assert night < 0.8 * dusk
    assert dusk < 0.8 * noon


def test_sunset_is_redder_than_noon() -> None:
    def redness(hour: Hour) -> float:
        frames = render(_scene(hour), num_frames=1, height=64, width=64, fps=16).astype(float)
        return float(frames[..., 0].mean() / frames[..., 2].mean())

    assert redness("sunset") > 1.25 * redness("noon")


@pytest.mark.parametrize(
    ("drift", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("towards", 0, -1), ("away", 0, 1)]
)
def test_clouds_drift_as_the_scene_says(drift: Drift, axis: int, sign: int) -> None:
    frames = render(_scene(drift=drift), num_frames=13, height=128, width=128, fps=16)[[0, 12]]
    # The middle rows, where perspective changes least.
    before, after = frames[:, 24:88].astype(float).mean(axis=-1)
    shift = _shift(before, after)
    assert sign * shift[axis] >= 1
    assert abs(shift[1 - axis]) <= abs(shift[axis])


@pytest.mark.parametrize(
    ("drift", "down", "right"),
    [("towards-left", -1, -1), ("towards-right", -1, 1), ("away-left", 1, -1), ("away-right", 1, 1)],
)
def test_diagonal_drift_is_seen_in_both_directions(drift: Drift, down: int, right: int) -> None:
    frames = render(_scene(drift=drift), num_frames=13, height=128, width=128, fps=16)[[0, 12]]
    # The middle of the picture: perspective spreads and gathers motion towards the sides.
    before, after = frames[:, 24:88, 32:96].astype(float).mean(axis=-1)
    shift = _shift(before, after)
    assert down * shift[0] >= 1
    assert right * shift[1] >= 1


def _blueness(frames: np.ndarray) -> np.ndarray:
    return (frames[..., 2].astype(float) - frames[..., 0]).mean(axis=(1, 2))


def test_clouds_grow_and_decay() -> None:
    scene = replace(_scene(), drift_rate=0.0)
    growing, decaying = (
        _blueness(render(replace(scene, growth=growth), num_frames=5, height=64, width=64, fps=2))
        for growth in (0.15, -0.15)
    )
    assert growing[0] > growing[2] > growing[4]
    assert decaying[0] < decaying[2] < decaying[4]


def test_thick_clouds_are_darker_than_their_thin_edges_against_a_low_sun() -> None:
    scene = replace(_scene("sunset"), clouds="scattered", cloud_cover=0.3, sun_azimuth=0.0)
    field = CloudField(scene, (96, 96), direction(2.0, 0.0), middle=0.5)
    through, sunlit, _ = field.march(0.5)
    cover = 1 - through
    brightness = sunlit / np.maximum(cover, 1e-3)
    thick, thin = cover > 0.98, (cover > 0.1) & (cover < 0.6)
    assert brightness[thick].mean() < 0.8 * brightness[thin].mean()


def test_pictures_are_smooth_even_where_it_rains_at_sea() -> None:
    scene = replace(_scene(), clouds="storm", cloud_cover=0.98, rain=True, horizon="sea", horizon_row=0.8)
    frame = render(scene, num_frames=1, height=128, width=128, fps=16)[0].astype(float).mean(axis=-1)
    # What 4x4 averages cannot show is noise to an autoencoder.
    coarse = frame.reshape(32, 4, 32, 4).mean(axis=(1, 3)).repeat(4, axis=0).repeat(4, axis=1)
    assert np.abs(frame - coarse).mean() < 0.25 * np.abs(frame - frame.mean()).mean()


@pytest.mark.parametrize("hour", HOURS)
def test_every_hour_renders_and_moves(hour: Hour) -> None:
    seed = next(s for s in range(1000) if draw_scene(s).hour == hour and draw_scene(s).clouds == "broken")
    frames = render(draw_scene(seed), num_frames=9, height=64, width=64, fps=16)[[0, 8]].astype(int)
    assert np.abs(frames[0] - frames[1]).mean() > 0.3


def test_special_effects_show() -> None:
    night = replace(_scene("night"), clouds="clear")
    plain = render(night, num_frames=1, height=64, width=64, fps=16)
    for change in ({"aurora": True}, {"moon": "full"}, {"stars": False}, {"horizon": "sea", "horizon_row": 0.8}):
        changed = render(replace(night, **change), num_frames=1, height=64, width=64, fps=16)  # type: ignore[arg-type]
        assert not np.array_equal(plain, changed)
