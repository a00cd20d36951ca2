"""A training run's state on disk: a folder that appears whole, or not at all.

RUN/checkpoints/step-00001000/
    model.safetensors  ema.safetensors  optimizer.safetensors    float32
    state.json                                                   step, configuration
"""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from soradit.errors import SoraditError

PREFIX = "step-"


def save_checkpoint(
    run: Path, step: int, model: nn.Module, ema: dict[str, Tensor], optimizer: torch.optim.Optimizer, state: dict
) -> None:
    """Write everything that the next step depends on, then make it visible by one rename.

    Raises SoraditError when it can't be written; earlier checkpoints are untouched.
    """
    target = run / "checkpoints" / f"{PREFIX}{step:08d}"
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        save_file(_contiguous(model.state_dict()), temporary / "model.safetensors")
        save_file(_contiguous(ema), temporary / "ema.safetensors")
        save_file(_contiguous(_flatten(optimizer)), temporary / "optimizer.safetensors")
        (temporary / "state.json").write_text(json.dumps({"step": step, **state}, indent=2))
        for file in temporary.iterdir():
            _sync(file)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
        _sync(target.parent)
    except (SafetensorError, OSError) as error:
        raise SoraditError(f"can't save {target}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def prune_checkpoints(run: Path, keep: int) -> None:
    """Remove all but the newest ``keep``, and what killed processes left half-written."""
    for unfinished in (run / "checkpoints").glob(f".{PREFIX}*.tmp"):
        shutil.rmtree(unfinished, ignore_errors=True)
    for old in list_checkpoints(run)[:-keep]:
        shutil.rmtree(old)


def list_checkpoints(run: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    folder = run / "checkpoints"
    return sorted(folder.glob(f"{PREFIX}*")) if folder.is_dir() else []


def read_state(checkpoint: Path) -> dict:
    """The ``state.json`` of a checkpoint; raises SoraditError when it can't be read."""
    try:
        state = json.loads((checkpoint / "state.json").read_text())
        if not isinstance(state, dict) or not isinstance(state.get("step"), int):
            raise ValueError("its state.json names no step")
        return state
    except (OSError, ValueError) as error:
        raise SoraditError(f"{checkpoint} is not a checkpoint: {error}") from error


def load_checkpoint(
    checkpoint: Path, model: nn.Module, ema: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> None:
    """Put a saved state back, in place. Raises SoraditError when files are damaged or don't fit."""
    try:
        model.load_state_dict(load_file(checkpoint / "model.safetensors"))
        for name, tensor in load_file(checkpoint / "ema.safetensors").items():
            ema[name].copy_(tensor)
        _unflatten(optimizer, load_file(checkpoint / "optimizer.safetensors"))
    except (SafetensorError, OSError, RuntimeError, KeyError) as error:
        raise SoraditError(f"can't resume from {checkpoint}: {str(error).splitlines()[0]}") from error


def _flatten(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}


def _unflatten(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
