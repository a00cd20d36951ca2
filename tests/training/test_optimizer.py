"""Muon moves all directions alike, as far as AdamW moves weights, and never by what is not finite."""

import pytest
import torch
from torch import nn

from soradit.model.dit import DiT, DiTConfig
from soradit.training.config import LoopConfig
from soradit.training.optimizer import ADAMW_RMS, Muon, optimizers_of, orthogonal


@pytest.mark.parametrize("shape", [(3, 24, 24), (2, 16, 64), (2, 64, 16)])
def test_orthogonal_matrices_keep_their_directions_and_lose_their_lengths(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    u, s, vt = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    s = s.clamp_min(0.05 * s.max())
    made = orthogonal(u @ s.diag_embed() @ vt)
    assert made.shape == shape
    lengths = u.mT @ made @ vt.mT
    along = lengths.diagonal(dim1=-2, dim2=-1)
    assert along.min() > 0.6
    assert along.max() < 1.3
    assert (lengths - along.diag_embed()).abs().max() < 0.05


@pytest.mark.parametrize("shape", [(32, 32), (16, 64), (64, 16)])
def test_a_step_of_muon_is_as_long_as_one_of_adamw(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = nn.Parameter(torch.zeros(shape))
    muon = with_gradient(Muon([matrix], lr=0.1, weight_decay=0.0), torch.randn(shape))
    muon.step()
    assert matrix.square().mean().sqrt().item() == pytest.approx(0.1 * ADAMW_RMS, rel=0.25)


def test_muon_decays_weights_and_remembers_gradients() -> None:
    matrix = nn.Parameter(torch.eye(4))
    muon = with_gradient(Muon([matrix], lr=0.1, weight_decay=0.5), torch.zeros(4, 4))
    muon.step()
    torch.testing.assert_close(matrix.data, 0.95 * torch.eye(4))
    with_gradient(muon, torch.eye(4)).step()
    before = matrix.detach().clone()
    with_gradient(muon, torch.zeros(4, 4)).step()
    assert (matrix.diagonal() < 0.95 * before.diagonal()).all()  # further along the gradient that was


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_muon_takes_no_step_from_a_gradient_that_is_not_finite(wrong: float) -> None:
    torch.manual_seed(0)
    matrix = nn.Parameter(torch.randn(4, 4))
    muon = with_gradient(Muon([matrix], lr=0.1, weight_decay=0.5), torch.randn(4, 4))
    muon.step()
    before, momentum = matrix.detach().clone(), muon.state[matrix]["momentum"].clone()
    gradient = torch.randn(4, 4)
    gradient[1, 2] = wrong
    with_gradient(muon, gradient, found_inf=1.0).step()
    assert torch.equal(matrix, before)
    assert torch.equal(muon.state[matrix]["momentum"], momentum)


def test_muon_has_the_matrices_between_features_and_adamw_the_rest() -> None:
    model = DiT(DiTConfig(depth=2, width=40, heads=2, latent_channels=4, text_dim=8, pooled_dim=8))
    adamw, muon = optimizers_of(model, LoopConfig(steps=1, batch_size=1, optimizer="muon"))
    shapes = sorted(tuple(p.shape) for p in parameters_of(muon))
    assert shapes == sorted(2 * [(120, 40), (80, 8), (40, 40), (160, 40), (40, 160)])
    assert {*parameters_of(adamw)} | {*parameters_of(muon)} == set(model.parameters())
    assert not {*parameters_of(adamw)} & {*parameters_of(muon)}
    (alone,) = optimizers_of(model, LoopConfig(steps=1, batch_size=1))
    assert {*parameters_of(alone)} == set(model.parameters())
    assert all(optimizer.defaults["fused"] for optimizer in (adamw, alone))


def with_gradient(muon: Muon, gradient: torch.Tensor, found_inf: float = 0.0) -> Muon:
    (matrix,) = parameters_of(muon)
    matrix.grad, muon.found_inf = gradient, torch.tensor(found_inf)
    return muon


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
