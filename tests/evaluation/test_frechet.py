"""The Fréchet distance against Gaussians whose distance has a closed form."""

import numpy as np
import pytest

from soradit.evaluation.frechet import frechet_distance


def with_moments(mean: list[float], cov: list[list[float]], n: int, seed: int = 0) -> np.ndarray:
    """n vectors whose sample mean and covariance are exactly these."""
    x = np.random.default_rng(seed).standard_normal((n, len(mean)))
    x -= x.mean(axis=0)
    whitened = np.linalg.solve(np.linalg.cholesky(np.cov(x, rowvar=False)), x.T).T
    return whitened @ np.linalg.cholesky(np.array(cov)).T + np.array(mean)


def test_of_commuting_covariances() -> None:
    a = with_moments([0, 0, 0], [[4, 0, 0], [0, 9, 0], [0, 0, 1]], n=50)
    b = with_moments([1, -2, 0], [[1, 0, 0], [0, 25, 0], [0, 0, 1]], n=80, seed=1)
    # |mean|² + the squared differences of standard deviations: 1 + 4, (2 - 1)² + (3 - 5)²
    assert frechet_distance(a, b) == pytest.approx(10)


def test_of_covariances_that_do_not_commute() -> None:
    a = with_moments([0, 0], [[2, 1], [1, 2]], n=40)
    b = with_moments([0, 0], [[1, 0], [0, 5]], n=40, seed=1)
    # For 2x2 matrices tr(M^½) = (tr M + 2 (det M)^½)^½, here with M = Ca Cb: tr 12, det 15.
    assert frechet_distance(a, b) == pytest.approx(4 + 6 - 2 * np.sqrt(12 + 2 * np.sqrt(15)))


def test_is_symmetric_and_nought_of_the_same() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 30, 5))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, b) > 0


def test_does_not_turn_with_the_axes() -> None:
    a, b = np.random.default_rng(1).standard_normal((2, 30, 4)) * [1, 2, 3, 4]
    turn, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((4, 4)))
    assert frechet_distance(a @ turn, b @ turn + 0) == pytest.approx(frechet_distance(a, b))


def test_of_fewer_samples_than_dimensions() -> None:
    a, b = np.random.default_rng(3).standard_normal((2, 3, 8)).astype(np.float32)
    assert np.isfinite(frechet_distance(a, b))
    assert frechet_distance(a, a + 2) == pytest.approx(8 * 4, rel=1e-5)
