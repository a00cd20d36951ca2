"""What turns gradients into steps: AdamW, and Muon for matrices that stand between features.

Both look at ``found_inf``, a tensor on the weights' device, and take no step when it is 1: nothing waits for it.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soradit.device import choose_precision
from soradit.model.dit import Attention, FeedForward
from soradit.training.config import LoopConfig

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5: an odd polynomial that, applied again and again, takes numbers in (0, 1] near 1."""
NEWTON_SCHULZ_STEPS = 5
MUON_MOMENTUM = 0.95
ADAMW_RMS = 0.2
"""Root mean square of the steps that AdamW takes, in learning rates (Liu et al. 2025, section 2.2)."""


def optimizers_of(model: nn.Module, config: LoopConfig) -> list[torch.optim.Optimizer]:
    """AdamW for every parameter that is not frozen; with ``config.optimizer`` "muon", Muon for the blocks' matrices.

    A model's ``rate_of(parameter)``, if it has one, is the share of the learning rate that AdamW trains a parameter at.
    """
    matrices = matrices_of_blocks(model) if config.optimizer == "muon" else []
    by_muon = set(map(id, matrices))
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in by_muon]
    muon = [Muon(matrices, lr=config.learning_rate, weight_decay=config.weight_decay)] if matrices else []
    return [adamw(others, config, getattr(model, "rate_of", equal_rates)), *muon]


def matrices_of_blocks(model: nn.Module) -> list[nn.Parameter]:
    """Matrices of attention and feed-forward, in all blocks."""
    layers = (layer for layer in model.modules() if isinstance(layer, (Attention, FeedForward)))
    return [p for layer in layers for p in layer.parameters() if p.ndim == 2 and p.requires_grad]


def equal_rates(parameter: nn.Parameter) -> float:
    return 1.0


def adamw(
    parameters: list[nn.Parameter], config: LoopConfig, rate_of: Callable[[nn.Parameter], float] = equal_rates
) -> torch.optim.AdamW:
    """Loshchilov & Hutter 2019 (arXiv 1711.05101), fused."""
    alike: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in parameters:
        weight_decay = config.weight_decay if parameter.ndim >= 2 else 0.0
        alike.setdefault((weight_decay, rate_of(parameter)), []).append(parameter)
    groups = [{"params": same, "weight_decay": decayed, "share": share} for (decayed, share), same in alike.items()]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
    optimizer.grad_scale = None  # type: ignore[attr-defined]  # which found_inf belongs with, unused here
    for parameter in parameters:  # now, not at the first step: a checkpoint before it has them, too
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter, requires_grad=False),
            "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
        }
    return optimizer


class Muon(torch.optim.Optimizer):
    """Moves a matrix by its momentum with all singular values made 1, so that no direction is left behind.

    Jordan et al. 2024 (kellerjordan.github.io/posts/muon), scaled to steps of AdamW's size, so that one learning rate
    serves both (Liu et al. 2025, arXiv 2502.16982, equation 4). Products are bfloat16 where the device is fast at it.
    """

    found_inf: Tensor

    def __init__(self, matrices: list[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "share": 1.0})
        for matrix in matrices:
            self.state[matrix]["momentum"] = torch.zeros_like(matrix, requires_grad=False)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            rate = group["lr"] * (1 - self.found_inf)
            for same in _by_shape(group["params"]):
                gradients = torch.stack([_gradient(matrix) for matrix in same]).nan_to_num(0.0, 0.0, 0.0)
                momenta = torch.stack([self.state[matrix]["momentum"] for matrix in same])
                momenta = momenta.lerp(gradients, (1 - MUON_MOMENTUM) * (1 - self.found_inf))
                directions = orthogonal(gradients.lerp(momenta, MUON_MOMENTUM))
                length = ADAMW_RMS * max(same[0].shape) ** 0.5
                for matrix, momentum, direction in zip(same, momenta, directions, strict=True):
                    self.state[matrix]["momentum"].copy_(momentum)
                    matrix.mul_(1 - rate * group["weight_decay"]).sub_(rate * length * direction)


def orthogonal(x: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """About U V^T of each matrix U S V^T: singular values between about 0.7 and 1.2, unless they are tiny."""
    if x.shape[-2] > x.shape[-1]:
        return orthogonal(x.mT).mT
    a, b, c = NEWTON_SCHULZ
    y = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(choose_precision("auto", x.device))
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = y @ y.mT
        y = a * y + (b * square + c * square @ square) @ y
    return y.to(x.dtype)


def _gradient(matrix: nn.Parameter) -> Tensor:
    assert matrix.grad is not None, "a step of Muon before the way back"
    return matrix.grad


def _by_shape(matrices: list[nn.Parameter]) -> Iterable[list[nn.Parameter]]:
    alike: dict[torch.Size, list[nn.Parameter]] = {}
    for matrix in matrices:
        alike.setdefault(matrix.shape, []).append(matrix)
    return alike.values()
