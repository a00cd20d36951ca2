"""Landmarks of what was learnt, and what is far from them."""

from pathlib import Path

import pytest
import torch

from soradit.errors import SoraditError
from soradit.model.familiar import (
    EVERYDAY_FILE,
    FILE,
    Familiar,
    distances,
    farthest_points,
    learn,
    load_familiar,
    save_everyday,
    save_familiar,
)


def around(centre: list[float], count: int, width: float = 0.05) -> torch.Tensor:
    return torch.tensor(centre) + width * torch.randn(
        count, len(centre), generator=torch.Generator().manual_seed(count)
    )


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    for file in (FILE, EVERYDAY_FILE):
        (tmp_path / file).parent.mkdir()
    return tmp_path


def test_distances_are_those_of_directions() -> None:
    points = torch.tensor([[1.0, 0.0], [0.0, 3.0], [-2.0, 0.0]])
    torch.testing.assert_close(distances(points, points[:1] * 5), torch.tensor([0.0, 1.0, 2.0]))
    torch.testing.assert_close(distances(points, points), torch.zeros(3))


def test_landmarks_are_spread_over_all_there_is() -> None:
    points = torch.cat([around([1, 0, 0], 500), around([0, 1, 0], 3), around([0, 0, 1], 1)])
    landmarks = farthest_points(points, 3)
    assert distances(torch.eye(3), landmarks).max() < 0.1
    assert len(farthest_points(points[:1].repeat(9, 1), 3)) == 1


def test_what_lies_elsewhere_is_far_and_what_lies_among_them_is_not(weights: Path) -> None:
    captions = torch.cat([around([1, 0, 0], 400), around([0, 1, 0], 400)])
    familiar = learn(captions, around([1, 0, 0], 50))
    assert familiar is not None
    assert not familiar.is_far(around([0, 1, 0], 1))
    assert familiar.is_far(torch.tensor([[0.0, 0.0, 1.0]]))
    save_familiar(weights, familiar)
    loaded = load_familiar(weights)
    assert loaded is not None
    torch.testing.assert_close(loaded.landmarks, familiar.landmarks, atol=1e-3, rtol=1e-3)
    assert loaded.radius == pytest.approx(familiar.radius)


@pytest.mark.parametrize("count", [1, 3])
def test_captions_that_are_all_held_out_too_tell_no_distance(weights: Path, count: int) -> None:
    """As with few clips, which are held out and trained on, or with one caption for all of them."""
    captions = around([1, 0, 0], count)
    assert learn(captions, captions.repeat(2, 1)) is None
    save_familiar(weights, Familiar(landmarks=torch.eye(3), radius=0.5))
    save_familiar(weights, None)
    assert load_familiar(weights) is None


def test_weights_that_do_not_say_and_a_damaged_file(weights: Path) -> None:
    assert load_familiar(weights) is None
    save_familiar(weights, Familiar(landmarks=torch.eye(3), radius=0.5))
    for file in (EVERYDAY_FILE, FILE):
        (weights / file).write_bytes(b"half")
        with pytest.raises(SoraditError, match=f"{file.name} is damaged"):
            load_familiar(weights)


def test_what_is_more_like_an_everyday_prompt_than_like_a_caption_is_far(weights: Path) -> None:
    caption, between, other, ours = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0.6, 0.8, 0], [0.99, 0, 0.1]])[:, None]
    save_familiar(weights, Familiar(landmarks=caption, radius=0.5))
    plain = load_familiar(weights)
    assert plain is not None
    assert not plain.is_far(between)
    save_everyday(weights, torch.cat([other, ours]))
    familiar = load_familiar(weights)
    assert familiar is not None
    assert familiar.is_far(between)
    assert not familiar.is_far(ours), "what captions are about is no other thing"
    save_everyday(weights, ours)
    alone = load_familiar(weights)
    assert alone is not None
    assert not alone.is_far(between)
