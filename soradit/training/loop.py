"""The training loop, shared by transformer, autoencoder and text encoder.

What differs between them is an Objective: its batches, its loss, and how it is published into the run's folder of
weights. What is the same is here: AdamW with warm-up and cosine decay, gradient clipping, an average of the weights
(EMA), held-out evaluation, metrics, checkpoints, and exact resume.
"""

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from soradit.errors import SoraditError, StateSaved
from soradit.report import Report
from soradit.training.checkpoint import load_checkpoint, prune_checkpoints, read_state, save_checkpoint
from soradit.training.metrics import Metrics
from soradit.training.stop import StopSignal


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How to train; saved in each checkpoint, so that a run is resumed as it began."""

    steps: int
    batch_size: int
    learning_rate: float = 1e-3
    """At its highest, after the warm-up."""
    warmup_steps: int = 100
    """At most a tenth of the steps."""
    weight_decay: float = 0.01
    """Of matrices; biases and gains are not decayed."""
    betas: tuple[float, float] = (0.9, 0.99)
    max_gradient_norm: float = 1.0
    ema_decay: float = 0.999
    """At its longest: early on the average is as short as (1 + step) / (10 + step)."""
    seed: int = 0
    evaluate_every: int = 100
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    max_hours: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "evaluate_every", "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) <= 0:
                raise SoraditError(f"{name.replace('_', '-')} must be above 0, not {getattr(self, name)}")
        if self.max_hours is not None and not self.max_hours > 0:
            raise SoraditError(f"max-hours must be above 0, not {self.max_hours}")


@runtime_checkable
class Objective(Protocol):
    """What the loop trains."""

    @property
    def model(self) -> nn.Module: ...

    def batch(self, step: int) -> Any:
        """The data of a step, on the CPU: runs ahead in a thread, depends on nothing but the step."""

    def loss(self, batch: Any, step: int) -> Tensor:
        """The loss to descend."""

    def evaluate(self) -> dict[str, float]:
        """Held-out figures of the model as it is; ``held_out_loss`` among them."""

    def publish(self, run: Path, tensors: dict[str, Tensor]) -> None:
        """Write the averaged weights into the run's folder of weights."""


def run_loop(
    objective: Objective, config: LoopConfig, run: Path, *, resume_from: Path | None, report: Report, describe: dict
) -> None:
    """Train to ``config.steps``, from the start or from a checkpoint; ``describe`` is saved with each checkpoint.

    Raises StateSaved when a signal or ``max_hours`` ends it early: run again to go on.
    """
    model = objective.model.train()
    optimizer = adamw(model, config)
    ema = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    first_step = 0
    if resume_from is not None:
        load_checkpoint(resume_from, model, ema, optimizer)
        first_step = read_state(resume_from)["step"]
        report.note(f"resuming from {resume_from}")
        objective.publish(run, ema)  # the last time may have been cut short
        if first_step >= config.steps:
            report.note(f"{run} is trained to step {first_step} already: more --steps would go on")
            return
    metrics = Metrics(run / "metrics.csv", first_step)
    deadline = time.monotonic() + 3600 * (config.max_hours or math.inf)

    def save(step: int) -> None:
        save_checkpoint(run, step, model, ema, optimizer, describe)
        objective.publish(run, ema)
        prune_checkpoints(run, config.keep_checkpoints)

    with (
        StopSignal() as stop,
        ThreadPoolExecutor(1) as ahead,
        report.progress("training", config.steps) as progress,
    ):
        upcoming = ahead.submit(objective.batch, first_step)
        for step in range(first_step, config.steps):
            batch, upcoming = upcoming.result(), _submit(ahead, objective, step + 1, config.steps)
            row = _train_step(objective, batch, step, optimizer, ema, config)
            done = step + 1
            if done % config.evaluate_every == 0 or done == config.steps:
                row |= evaluate_average(objective, ema)
            metrics.write(done, row)
            progress.update(done, metrics.summary)
            if done < config.steps and (stop.requested or time.monotonic() > deadline):
                save(done)
                why = stop.requested or f"--max-hours {config.max_hours}"
                raise StateSaved(f"{why}: state saved at step {done} of {config.steps} in {run}; run again to go on")
            if done % config.checkpoint_every == 0 and done != config.steps:
                save(done)
        save(config.steps)


def _submit(ahead: ThreadPoolExecutor, objective: Objective, step: int, steps: int) -> Future:
    return ahead.submit(objective.batch, step) if step < steps else Future()


def _train_step(
    objective: Objective,
    batch: Any,
    step: int,
    optimizer: torch.optim.Optimizer,
    ema: dict[str, Tensor],
    config: LoopConfig,
) -> dict[str, float]:
    """One update of the weights and of their average."""
    started = time.perf_counter()
    rate = learning_rate(step, config)
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = objective.loss(batch, step)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(objective.model.parameters(), config.max_gradient_norm)
    if not torch.isfinite(norm):
        raise SoraditError(f"the loss at step {step} is {loss.item()}, its gradient {norm.item()}: try a smaller --lr")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    decay = min(config.ema_decay, (1 + step) / (10 + step))
    current = objective.model.state_dict()
    torch._foreach_lerp_(list(ema.values()), [current[name] for name in ema], 1 - decay)
    seconds = time.perf_counter() - started
    return {"loss": loss.item(), "gradient_norm": norm.item(), "learning_rate": rate, "seconds": seconds}


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then a cosine to zero (Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5)."""
    warmup_steps = max(1, min(config.warmup_steps, config.steps // 10))
    warmup = min(1.0, (step + 1) / warmup_steps)
    return config.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / config.steps))


@torch.no_grad()
def evaluate_average(objective: Objective, ema: dict[str, Tensor]) -> dict[str, float]:
    """Held-out figures of the averaged weights."""
    model = objective.model
    trained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(ema)
    model.eval()
    try:
        return objective.evaluate()
    finally:
        model.load_state_dict(trained)
        model.train()


def adamw(model: nn.Module, config: LoopConfig) -> torch.optim.AdamW:
    """The optimizer of every parameter that is not frozen (Loshchilov & Hutter 2019, arXiv 1711.05101)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
