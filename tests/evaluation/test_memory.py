"""A model that copies is told from one that generates."""

import numpy as np
import pytest

from soradit.evaluation.memory import measure_memory, nearest

RANDOM = np.random.default_rng(0)
TRAINING = RANDOM.standard_normal((300, 16)).astype(np.float32)
HELD_OUT = RANDOM.standard_normal((50, 1, 16)).astype(np.float32)


def test_copies_are_remembered() -> None:
    copies = TRAINING[:20, None] + 1e-3
    memory = measure_memory(copies, HELD_OUT, TRAINING)
    assert (memory.remembered, memory.closer) == (1, 1)


def test_new_clips_are_not() -> None:
    fresh = np.random.default_rng(1).standard_normal((50, 1, 16)).astype(np.float32)
    memory = measure_memory(fresh, HELD_OUT, TRAINING)
    assert memory.remembered <= 0.1
    assert 0.3 < memory.closer < 0.7


def test_held_out_clips_are_as_close_as_themselves() -> None:
    memory = measure_memory(HELD_OUT, HELD_OUT, TRAINING)
    assert memory.remembered == 0
    assert memory.closer == pytest.approx(0.5)


def test_a_copy_counts_in_any_view() -> None:
    far = np.full((5, 1, 16), 100, dtype=np.float32)
    mirrored = np.concatenate([far, TRAINING[:5, None]], axis=1)
    assert measure_memory(mirrored, np.repeat(HELD_OUT, 2, axis=1), TRAINING).remembered == 1
    assert measure_memory(far, HELD_OUT, TRAINING).closer == 0


def test_the_nearest_training_frame_of_any_view() -> None:
    far = np.full((2, 1, 16), 100, dtype=np.float32)
    distances, frames = nearest(np.concatenate([far, TRAINING[[7, 3], None]], axis=1), TRAINING)
    assert frames.tolist() == [7, 3]
    assert distances == pytest.approx(0, abs=0.1)
