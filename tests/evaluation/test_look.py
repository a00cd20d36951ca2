"""What is measured of a clip."""

import numpy as np
import pytest
import torch
from torch import Tensor

from soradit.evaluation.features import FeatureNetwork
from soradit.evaluation.look import window_features


def brightness(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).float().mean(dim=(1, 2, 3))[:, None]


@pytest.mark.parametrize(
    ("num_frames", "seen"),
    [(3, [0, 1, 2]), (8, [*range(8)]), (12, [0, 1, 3, 4, 6, 7, 9, 10]), (15, [0, 1, 3, 5, 7, 9, 11, 13]),
     (32, [*range(0, 32, 4)])],
)  # fmt: skip
def test_eight_frames_of_a_clip_evenly_spaced(num_frames: int, seen: list[int]) -> None:
    frames = np.arange(num_frames, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    network = FeatureNetwork(name="brightness", sha256="", forward=brightness)
    assert window_features(frames, network)[:, 0].tolist() == seen
