"""Importing large libraries quickly."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any


@contextmanager
def quick_imports() -> Iterator[None]:
    """torch and transformers make a million objects and no garbage: looking for it is a sixth of their import."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def leave_out_compiling_and_sharding() -> None:
    """For a process that runs one of transformers' models and ends: half of what transformers imports is not for that.

    Before the import: torch's compiler (TorchDynamo) is left out but for submodules that are asked for by name, and
    distributed tensors are left out whole. A release of transformers that wants more of them can't be imported then.
    """
    import torch

    torch.distributed.is_available = lambda: False
    spec = PathFinder.find_spec("torch._dynamo", torch.__path__)
    assert spec, "torch has no compiler"
    compiler = module_from_spec(spec)
    compiler.__class__ = _Undecorating
    sys.modules["torch._dynamo"] = torch._dynamo = compiler


class _Undecorating(ModuleType):
    """A package that was not run: its submodules can be imported, its decorators leave functions as they are."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _leave_as_it_is


def _leave_as_it_is(function: Any = None, *_: Any, **__: Any) -> Any:
    """As a decorator, or called with options for one."""
    return _leave_as_it_is if function is None else function
