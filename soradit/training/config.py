"""How the loop trains."""

import math
from dataclasses import dataclass

from soradit.errors import SoraditError


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How to train; saved in each checkpoint, so that a run is resumed as it began."""

    steps: int
    batch_size: int
    """Clips a step, of all processes together."""
    accumulate: int = 1
    """Parts that each process takes its share of a batch in, one after another, to save memory."""
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
    snapshots: int = 0
    """Times to save averages from which one of any length is made afterwards."""
    seed: int = 0
    evaluate_every: int = 100
    sample_every: int = 500
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    max_hours: float | None = None

    def __post_init__(self) -> None:
        above_zero = ("steps", "batch_size", "accumulate", "learning_rate", "evaluate_every", "sample_every")
        for name in (*above_zero, "checkpoint_every", "keep_checkpoints", "max_hours"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise SoraditError(f"{name.replace('_', '-')} must be above 0, not {value}")
        if not 0 <= self.ema_decay < 1:
            raise SoraditError(f"ema must be from 0 to less than 1, not {self.ema_decay}")
        for name in ("warmup_steps", "snapshots"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SoraditError(f"{name.removesuffix('_steps')} must be 0 or more, not {getattr(self, name)}")
