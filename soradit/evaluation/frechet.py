"""The Fréchet distance between two sets of features, each taken for a Gaussian."""

import numpy as np
from jaxtyping import Float


def frechet_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """|μa - μb|² + tr(Ca + Cb - 2 (Ca Cb)^½), in the square of the features' unit; 0 for equal sets.

    Heusel et al. 2017 (arXiv 1706.08500), eq. 6, after Dowson & Landau 1982. It has a bias that falls with n and m
    (Chong & Forsyth 2020, arXiv 1911.07023), so compare distances of sets of one size only. n and m are at least 2.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    # The trace of (Ca Cb)^½ is the sum of the singular values of Ca^½ Cb^½: no root of an asymmetric matrix.
    cross = np.linalg.svd(_root(cov_a) @ _root(cov_b), compute_uv=False).sum()
    difference = a.mean(axis=0) - b.mean(axis=0)
    return max(0.0, float(difference @ difference + np.trace(cov_a) + np.trace(cov_b) - 2 * cross))


def _root(cov: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The symmetric square root of a covariance, whose eigenvalues rounding may have made slightly negative."""
    values, vectors = np.linalg.eigh(cov)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
