"""A chance to stop in the middle of a model's work, forwards and backwards."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def interruptible(model: nn.Module, poll: Callable[[], None]) -> Iterator[None]:
    """While entered, ``poll``, which may raise, is called as each layer is done, and as its gradient comes back.

    Layers are what stands in an ``nn.ModuleList``, unless torch.compile makes one operation of it. No device is waited
    for.
    """

    def look(layer: nn.Module, inputs: Any, output: Any) -> None:
        poll()
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(lambda gradient: poll())

    with ExitStack() as hooks:
        for layers in model.modules():
            if isinstance(layers, nn.ModuleList):
                for layer in layers:
                    if not _is_compiled(layer):
                        hooks.enter_context(layer.register_forward_hook(look))
        yield


def is_compiled(model: nn.Module) -> bool:
    """Whether torch.compile makes one operation of any of its parts, which may take a minute at first."""
    return any(map(_is_compiled, model.modules()))


def _is_compiled(module: nn.Module) -> bool:
    return module._compiled_call_impl is not None
