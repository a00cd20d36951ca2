"""What a training is made of, and one step of it: weights, optimizer, average."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from soradit.training.config import LoopConfig
from soradit.training.distributed import whole
from soradit.training.optimizer import optimizers_of
from soradit.training.snapshots import LENGTHS, decay


@dataclass(kw_only=True)
class TrainState:
    """All that the next step depends on, beside its data: what a checkpoint holds."""

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    ema: dict[str, Tensor]
    """The average of everything that is trained, by the model's names."""
    tracked: dict[float, dict[str, Tensor]] = field(default_factory=dict)
    """Further averages by their length, for snapshots."""
    step: int = 0
    rate_scale: float = 1.0
    """Multiplies the learning rate: halved at each return to a checkpoint."""
    trained: dict[str, nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        self.trained = trained_parameters(self.model)

    @classmethod
    def begin(cls, model: nn.Module, config: LoopConfig) -> "TrainState":
        def average() -> dict[str, Tensor]:
            return {name: parameter.detach().clone() for name, parameter in trained_parameters(model).items()}

        tracked = {length: average() for length in LENGTHS} if config.snapshots else {}
        return cls(model=model, optimizers=optimizers_of(model, config), ema=average(), tracked=tracked)

    def apply_gradients(self, loss: Tensor, config: LoopConfig) -> dict[str, float | Tensor]:
        """Update the weights and their average by the gradients that are there; nothing here waits for the device.

        A step whose ``loss`` or gradient is not finite is not taken.
        """
        rate = self.rate_scale * learning_rate(self.step, config)
        norm = whole(nn.utils.clip_grad_norm_(self.trained.values(), config.max_gradient_norm))
        # As torch's own gradient scaler does it: an optimizer looks at this on the device, and skips the step.
        found_inf = (~(loss.isfinite() & norm.isfinite())).float()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            optimizer.found_inf = found_inf  # type: ignore[attr-defined]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._average(self.ema, min(config.ema_decay, (1 + self.step) / (10 + self.step)))
        self.step += 1
        for length, average in self.tracked.items():
            self._average(average, decay(self.step, length))
        return {"loss": loss, "gradient_norm": norm, "learning_rate": rate}

    def _average(self, average: dict[str, Tensor], kept: float) -> None:
        torch._foreach_lerp_(list(average.values()), [p.detach() for p in self.trained.values()], 1 - kept)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with the averaged weights, ready to be used."""
        weights = {name: parameter.detach().clone() for name, parameter in self.trained.items()}
        self._put(self.ema)
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self._put(weights)
            self.model.train()

    @torch.no_grad()
    def _put(self, tensors: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            self.trained[name].copy_(tensor)

    def published(self) -> dict[str, Tensor]:
        """Every tensor of the model, whole, those that are trained as their averages."""
        return {name: whole(tensor) for name, tensor in (self.model.state_dict() | self.ema).items()}


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """What its state holds beside parameters, in place."""
    parameters = {name for name, _ in model.named_parameters()}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in parameters}


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then a cosine to zero (Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5)."""
    warmup_steps = max(1, min(config.warmup_steps, config.steps // 10))
    warmup = min(1.0, (step + 1) / warmup_steps)
    return config.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / config.steps))
