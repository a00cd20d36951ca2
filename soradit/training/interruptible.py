"""A chance to stop in the middle of a model's work, forwards and backwards."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def interruptible(model: nn.Module, poll: Callable[[], None]) -> Iterator[None]:
    """While entered, ``poll``, which may raise, is called as each layer is done, and as its gradient comes back.

    Layers are what stands in an ``nn.ModuleList``, unless torch.compile has made one operation of it. No device is
    waited for.
    """

    def look(layer: nn.Module, inputs: Any, output: Any) -> None:
        poll()
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(lambda gradient: poll())

    with ExitStack() as hooks:
        for layers in model.modules():
            if isinstance(layers, nn.ModuleList):
                for layer in layers:
                    if layer._compiled_call_impl is None:
                        hooks.enter_context(layer.register_forward_hook(look))
        yield
