"""What tensors take, and what a computation on them costs, found on meta tensors: they have shapes and no numbers."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def num_parameters(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def cost(compute: Callable[..., object], *arguments: object) -> tuple[int, int]:
    """Floating-point operations of matrix products and attention (a multiplication and an addition are two), and the
    most bytes that tensors made on the way take at one time."""
    with (
        torch.inference_mode(),
        torch.device("meta"),
        PeakBytes() as memory,
        FlopCounterMode(display=False) as counter,
    ):
        compute(*arguments)
    return counter.get_total_flops(), memory.peak


class PeakBytes(TorchDispatchMode):
    """Adds up the storages that operations return, until each is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.alive: set[int] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, num_bytes = storage._cdata, storage.nbytes()
        if key not in self.alive:
            self.alive.add(key)
            self.now += num_bytes
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._let_go, key, num_bytes)

    def _let_go(self, key: int, num_bytes: int) -> None:
        self.alive.discard(key)
        self.now -= num_bytes
