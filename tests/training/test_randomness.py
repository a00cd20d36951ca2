"""Random draws that depend on (seed, step, purpose) and nothing else."""

import pytest
import torch

from soradit.training.randomness import draw_indices, generator


def test_purposes_have_generators_of_their_own() -> None:
    purposes = [(0, 1, "noise"), (0, 2, "noise"), (1, 1, "noise"), (0, 1, "window"), (0, "1", "noise")]
    draws = [torch.rand((), generator=generator(*purpose)).item() for purpose in purposes]
    assert len(set(draws)) == len(purposes)
    assert draws == [torch.rand((), generator=generator(*purpose)).item() for purpose in purposes]


@pytest.mark.parametrize(("batch_size", "num_items"), [(1, 7), (4, 8), (4, 10), (5, 3), (16, 1)])
def test_every_item_once_an_epoch(batch_size: int, num_items: int) -> None:
    drawn = [index for step in range(4 * num_items) for index in draw_indices(3, step, batch_size, num_items)]
    epochs = [drawn[start : start + num_items] for start in range(0, len(drawn) - num_items + 1, num_items)]
    assert all(sorted(epoch) == list(range(num_items)) for epoch in epochs)


def test_each_epoch_and_seed_has_its_own_order() -> None:
    orders = {tuple(draw_indices(seed, epoch, 50, 50)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
