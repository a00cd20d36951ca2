"""The diffusion transformer: where it starts, what it looks at, and what it doesn't."""

import pytest
import torch
from torch import Tensor

from soradit.device import MAX_TOKENS_WRITTEN_OUT
from soradit.model.config import PRESETS
from soradit.model.dit import (
    Attention,
    Block,
    DiT,
    DiTConfig,
    attend,
    modulate,
    place_in_frame,
    rotary_angles,
    rotate,
    widen,
)

CPU = torch.device("cpu")
SMALL = DiTConfig(depth=2, width=48, heads=2, latent_channels=6, text_dim=10, pooled_dim=7)


@pytest.fixture
def dit() -> DiT:
    """As after training: no layer is zero any more."""
    torch.manual_seed(0)
    model = DiT(SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model.eval()


def inputs(batch: int = 2, grid: tuple[int, int, int] = (2, 3, 2)) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    shapes = [(batch, *grid, 6), (batch,), (batch, 5, 10), (batch, 7)]
    return [torch.rand(shape, generator=random) for shape in shapes]


def test_fresh_block_is_the_identity() -> None:
    x, condition, text = torch.randn(2, 12, 48), torch.randn(2, 48), torch.randn(2, 5, 10)
    rotation = rotary_angles(2, 3, 2, head_dim=24, device=CPU)
    assert torch.equal(Block(SMALL)(x, condition, text, rotation), x)


def test_fresh_transformer_predicts_zero() -> None:
    assert torch.equal(DiT(SMALL)(*inputs()), torch.zeros(2, 2, 3, 2, 6))


def test_a_widened_transformer_predicts_the_first_channels_as_before(dit: DiT) -> None:
    latents, *conditions = inputs()
    wide = widen(dit, 9)(torch.cat([latents, torch.rand(2, 2, 3, 2, 3)], dim=-1), *conditions)
    torch.testing.assert_close(wide[..., :6], dit(latents, *conditions))


def test_gradients_reach_what_a_widened_transformer_is_to_see(dit: DiT) -> None:
    latents, *conditions = inputs()
    wide = widen(dit, 9).requires_grad_(True)
    others = torch.rand(2, 2, 3, 2, 3)
    wide(torch.cat([latents, others], dim=-1), *conditions)[..., 6:].sub(others).square().sum().backward()
    assert (wide.embed.weight.grad[:, 6:9].abs().max(dim=0).values > 0).all()


@pytest.mark.parametrize("grid", [(1, 1, 1), (1, 8, 8), (5, 2, 3), (7, 1, 1)])
def test_any_grid(dit: DiT, grid: tuple[int, int, int]) -> None:
    prediction = dit(*inputs(grid=grid))
    assert prediction.shape == (2, *grid, 6)
    assert prediction.isfinite().all()


@pytest.mark.filterwarnings("error")
def test_under_autocast_it_predicts_nearly_the_same_and_warns_of_nothing(dit: DiT) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = dit(*inputs())
    torch.testing.assert_close(rounded.float(), dit(*inputs()), atol=0.1, rtol=0.05)


@pytest.mark.parametrize("which", [0, 1, 2, 3], ids=["latents", "timestep", "prompt tokens", "pooled prompt"])
def test_every_input_matters(dit: DiT, which: int) -> None:
    given = inputs()
    before = dit(*given)
    given[which] = given[which].flip(0)
    assert (dit(*given) - before).abs().max() > 1e-3


def test_a_sample_does_not_depend_on_its_neighbours(dit: DiT) -> None:
    given = inputs(batch=4)
    alone = torch.cat([dit(*(x[i : i + 1] for x in given)) for i in range(4)])
    together = dit(*given)
    torch.testing.assert_close(together, alone, atol=1e-5 * together.abs().max().item(), rtol=0)


def test_every_token_attends_to_every_other(dit: DiT) -> None:
    given = inputs(batch=1, grid=(2, 2, 2))
    before = dit(*given)
    given[0] = given[0].clone()
    given[0][0, 0, 0, 0] += 1
    assert ((dit(*given) - before).abs().amax(-1) > 0).all()


def test_modulate_is_step_7_of_the_exercise() -> None:
    scale, shift = torch.tensor([[[2.0, -1.0]]]), torch.tensor([[[-1.0, 5.0]]])
    assert modulate(torch.tensor([[[1.0, 2.0]]]), scale, shift).tolist() == [[[1.0, 3.0]]]


def scores_at(positions: list[tuple[int, int, int]], q: Tensor, k: Tensor) -> Tensor:
    """Products of one query and key, turned to two positions of a grid."""
    grid = (6, 6, 6)
    cos, sin = rotary_angles(*grid, head_dim=24, device=CPU)
    (first, second) = [(t * 6 + h) * 6 + w for t, h, w in positions]
    turned_q = rotate(q.view(1, 1, 1, 24), (cos[[first]], sin[[first]]))
    turned_k = rotate(k.view(1, 1, 1, 24), (cos[[second]], sin[[second]]))
    return (turned_q * turned_k).sum()


def test_rotated_scores_depend_on_relative_position_only() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 24)
    here = scores_at([(0, 0, 0), (1, 2, 3)], q, k)
    torch.testing.assert_close(scores_at([(4, 3, 2), (5, 5, 5)], q, k), here, atol=1e-4, rtol=0)
    for other in [(0, 2, 3), (1, 1, 3), (1, 2, 2)]:
        assert (scores_at([(0, 0, 0), other], q, k) - here).abs() > 1e-3


@pytest.mark.parametrize("head_dim", [24, 64, 72, 16])
def test_rotation_keeps_lengths(head_dim: int) -> None:
    x = torch.randn(1, 2, 12, head_dim)
    turned = rotate(x, rotary_angles(2, 3, 2, head_dim=head_dim, device=CPU))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[:, :, 0], x[:, :, 0])


def test_queries_and_keys_are_normalised() -> None:
    """Ten times longer queries and keys leave attention as it was."""
    torch.manual_seed(0)
    attention = Attention(width=48, heads=2, text_dim=10)
    x, text = torch.randn(1, 12, 48), torch.randn(1, 5, 10)
    rotation = rotary_angles(2, 3, 2, head_dim=24, device=CPU)
    before = attention(x, text, rotation)
    with torch.no_grad():
        attention.to_qkv.weight[:96] *= 10
        attention.to_qkv.bias[:96] *= 10
        attention.text_to_kv.weight[:48] *= 10
        attention.text_to_kv.bias[:48] *= 10
    torch.testing.assert_close(attention(x, text, rotation), before, atol=1e-4, rtol=1e-4)


def test_place_in_frame_is_relative_and_does_not_move() -> None:
    small, large = place_in_frame(2, 3, 3, device=CPU), place_in_frame(1, 9, 9, device=CPU)
    torch.testing.assert_close(small[0, 1, 1], large[0, 4, 4])  # the centre
    assert torch.equal(small[0], small[1])
    assert torch.pdist(large.flatten(0, 2)).min() > 0.1


def test_blocks_that_are_computed_twice_have_the_same_gradients(dit: DiT) -> None:
    def gradients() -> list[Tensor]:
        dit.train().zero_grad()
        dit(*inputs()).square().sum().backward()
        return [parameter.grad.clone() for parameter in dit.parameters() if parameter.grad is not None]

    remembered = gradients()
    dit.checkpoint_activations = True
    again = gradients()
    assert len(remembered) == len(again) == len(list(dit.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(remembered, again, strict=True))


@pytest.mark.parametrize(
    ("preset", "millions"), [("tiny", 7.9), ("skies", 16.1), ("S", 32.6), ("B", 130), ("L", 457), ("XL", 674)]
)
def test_presets_have_the_sizes_of_the_paper(preset: str, millions: float) -> None:
    """DiT-S to XL, table 4: 33, 130, 458, 675 M. Ours has no class table, and reads text in each block."""
    with torch.device("meta"):
        parameters = sum(p.numel() for p in DiT(DiTConfig(**PRESETS[preset])).parameters())
    assert parameters / 1e6 == pytest.approx(millions, rel=0.1)


def test_width_must_be_a_multiple_of_heads() -> None:
    with pytest.raises(ValueError, match="width 50 is not a multiple of heads 4"):
        DiTConfig(width=50, heads=4)


@pytest.mark.parametrize("tokens", [7, MAX_TOKENS_WRITTEN_OUT + 1])
def test_attention_is_the_same_in_training_as_in_generating(tokens: int) -> None:
    q, k, v = (torch.randn(1, 1, n, 12, requires_grad=True) for n in (5, tokens, tokens))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trained = attend(q, k, v)
        with torch.no_grad():
            generated = attend(q, k, v)
    torch.testing.assert_close(trained, generated, atol=0.03, rtol=0.03)
    fused = "ScaledDotProduct" in type(trained.grad_fn).__name__
    assert fused == (tokens > MAX_TOKENS_WRITTEN_OUT)
