"""Motion, flicker and detail of pictures for which they are known."""

import numpy as np
import pytest

from soradit.evaluation.measures import detail, flicker, luma, motion

FPS = 8


def levels(*values: float) -> np.ndarray:
    """Plain frames of these grey levels."""
    return np.broadcast_to(np.array(values, dtype=np.float32)[:, None, None], (len(values), 16, 24))


def test_luma_of_grey_is_grey() -> None:
    assert luma(np.full((2, 4, 4, 3), 200, dtype=np.uint8)) == pytest.approx(np.full((2, 4, 4), 200), abs=1e-3)


def test_a_steady_change_moves_and_does_not_flicker() -> None:
    grey = levels(*range(0, 30, 3))
    assert motion(grey, FPS) == pytest.approx(12)  # 4 frames of 3 levels
    assert flicker(grey) == 0


def test_what_comes_and_goes_flickers() -> None:
    grey = levels(*[10, 20] * 5)
    assert motion(grey, FPS) == 0  # half a second on, it is as it was
    assert flicker(grey) == pytest.approx(20)


def test_fine_grain_does_not_flicker_as_the_whole_picture_does() -> None:
    grain = np.random.default_rng(0).normal(0, 10, (10, 64, 64)).astype(np.float32)
    assert flicker(grain) < 0.2 * flicker(levels(*[0, 10] * 5)[:10])


def test_detail_of_a_ramp_and_of_a_blur() -> None:
    ramp = np.broadcast_to(np.arange(24, dtype=np.float32) * 4, (2, 16, 24))
    assert detail(ramp) == pytest.approx(2)  # 4 across and 0 down
    sharp = np.random.default_rng(0).uniform(0, 255, (2, 32, 32)).astype(np.float32)
    blurred = sharp.reshape(2, 16, 2, 16, 2).mean(axis=(2, 4)).repeat(2, axis=1).repeat(2, axis=2)
    assert detail(blurred) < 0.5 * detail(sharp)


def test_clips_too_short_to_move() -> None:
    assert motion(levels(1, 2, 3), FPS) == 0
    assert flicker(levels(1, 2)) == 0
