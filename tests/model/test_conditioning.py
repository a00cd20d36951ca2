"""From timestep and text to scale, shift and gate."""

import math

import torch

from soradit.model.conditioning import Conditioning, Modulation, timestep_embedding


def test_timestep_embedding_by_hand() -> None:
    embedding = timestep_embedding(torch.tensor([0.0, 0.25]), 6)
    angles = [250 * 10_000 ** (-i / 3) for i in range(3)]
    expected = [[1, 1, 1, 0, 0, 0], [*map(math.cos, angles), *map(math.sin, angles)]]
    torch.testing.assert_close(embedding, torch.tensor(expected), atol=1e-4, rtol=0)


def test_neighbouring_timesteps_differ() -> None:
    embeddings = timestep_embedding(torch.linspace(0, 1, 1001))
    assert torch.pdist(embeddings).min() > 0.1


def test_scales_start_at_one_shifts_and_gates_at_zero() -> None:
    modulation = Modulation(condition_width=8, width=4, scales=2, shifts=1, gates=2)
    scale1, scale2, shift, gate1, gate2 = modulation(torch.randn(3, 8))
    assert scale1.shape == (3, 1, 4)
    assert torch.equal(torch.cat([scale1, scale2]), torch.ones(6, 1, 4))
    assert torch.equal(torch.cat([shift, gate1, gate2]), torch.zeros(9, 1, 4))


def test_both_timestep_and_text_condition() -> None:
    torch.manual_seed(0)
    conditioning = Conditioning(pooled_dim=6, width=9)
    t, pooled = torch.tensor([0.2, 0.2, 0.7]), torch.randn(2, 6)[[0, 1, 0]]
    base, other_text, other_time = conditioning(t, pooled)
    assert base.shape == (9,)
    assert torch.equal(base[:4], other_text[:4])
    assert not torch.isclose(base[4:], other_text[4:]).any()
    assert torch.equal(base[4:], other_time[4:])
    assert not torch.isclose(base[:4], other_time[:4]).any()
