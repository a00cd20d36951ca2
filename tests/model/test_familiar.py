"""Landmarks of what was learnt, and what is far from them."""

from pathlib import Path

import pytest
import torch

from soradit.errors import SoraditError
from soradit.model.familiar import FILE, Familiar, distances, farthest_points, learn, load_familiar, save_familiar


def around(centre: list[float], count: int, width: float = 0.05) -> torch.Tensor:
    return torch.tensor(centre) + width * torch.randn(
        count, len(centre), generator=torch.Generator().manual_seed(count)
    )


def test_distances_are_those_of_directions() -> None:
    points = torch.tensor([[1.0, 0.0], [0.0, 3.0], [-2.0, 0.0]])
    torch.testing.assert_close(distances(points, points[:1] * 5), torch.tensor([0.0, 1.0, 2.0]))
    torch.testing.assert_close(distances(points, points), torch.zeros(3))


def test_landmarks_are_spread_over_all_there_is() -> None:
    points = torch.cat([around([1, 0, 0], 500), around([0, 1, 0], 3), around([0, 0, 1], 1)])
    landmarks = farthest_points(points, 3)
    assert distances(torch.eye(3), landmarks).max() < 0.1
    assert len(farthest_points(points[:1].repeat(9, 1), 3)) == 1


def test_what_lies_elsewhere_is_far_and_what_lies_among_them_is_not(tmp_path: Path) -> None:
    captions = torch.cat([around([1, 0, 0], 400), around([0, 1, 0], 400)])
    familiar = learn(captions, around([1, 0, 0], 50))
    assert familiar is not None
    assert not familiar.is_far(around([0, 1, 0], 1))
    assert familiar.is_far(torch.tensor([[0.0, 0.0, 1.0]]))
    save_familiar(tmp_path, familiar)
    loaded = load_familiar(tmp_path)
    assert loaded is not None
    torch.testing.assert_close(loaded.landmarks, familiar.landmarks, atol=1e-3, rtol=1e-3)
    assert loaded.radius == pytest.approx(familiar.radius)


@pytest.mark.parametrize("count", [1, 3])
def test_captions_that_are_all_held_out_too_tell_no_distance(tmp_path: Path, count: int) -> None:
    """As with few clips, which are held out and trained on, or with one caption for all of them."""
    captions = around([1, 0, 0], count)
    assert learn(captions, captions.repeat(2, 1)) is None
    save_familiar(tmp_path, Familiar(landmarks=torch.eye(3), radius=0.5))
    save_familiar(tmp_path, None)
    assert load_familiar(tmp_path) is None


def test_weights_that_do_not_say_and_a_damaged_file(tmp_path: Path) -> None:
    assert load_familiar(tmp_path) is None
    save_familiar(tmp_path, Familiar(landmarks=torch.eye(3), radius=0.5))
    (tmp_path / FILE).write_bytes(b"half")
    with pytest.raises(SoraditError, match="is damaged"):
        load_familiar(tmp_path)
