"""What the training loop asks of whatever is trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Objective(Protocol):
    """What the loop trains."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def network(self) -> nn.Module:
        """What ``loss`` calls: the model, or a wrapper that lets several processes train it."""

    def batch(self, step: int, part: slice) -> Any:
        """A part of a step's batch, on the CPU.

        Runs ahead in a thread, and depends on nothing but its arguments.
        """

    def loss(self, batch: Any, step: int) -> Tensor:
        """The loss to descend, a mean over the examples."""

    def examples(self, step: int) -> list[str]:
        """What a step's batch is drawn from, for people: files or texts."""

    def evaluate(self, poll: Callable[[], None]) -> dict[str, float]:
        """Held-out figures of the model as it is; ``held_out_loss`` among them.

        Calls ``poll`` every few seconds, which may raise.
        """

    def publish(self, run: Path, tensors: dict[str, Tensor]) -> None:
        """Write the averaged weights into the run's folder of weights."""
