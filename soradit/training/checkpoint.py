"""A training run's state on disk: a folder that appears whole, or not at all.

RUN/checkpoints/step-00001000/
    model.safetensors  ema.safetensors  optimizer.safetensors    what is trained, float32
    ema-0.05.safetensors  ema-0.1.safetensors                    with --snapshots, further averages
    state.json                                                   step, configuration
"""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from soradit.errors import SoraditError, first_line
from soradit.files import reveal, write_whole
from soradit.training.distributed import ALONE, World, copy_whole, is_shared
from soradit.training.state import TrainState, persistent_buffers
from soradit.training.steps import step_folder, step_folders, step_of

FOLDER = "checkpoints"
LAST = "last"
"""A link to the newest of a run's checkpoints."""
SET_ASIDE = "set-aside"
"""Where checkpoints go that a run has turned back from."""
ANOTHER = "name another with --resume"


def save_checkpoint(run: Path, state: TrainState, describe: dict, world: World = ALONE) -> None:
    """Write everything that the next step depends on, then make it visible by one rename.

    Raises SoraditError when it can't be written; earlier checkpoints are untouched.
    """
    target = step_folder(run / FOLDER, state.step)
    if target.is_dir():
        return  # the same step of the same training
    temporary = target.with_name(f".{target.name}.tmp")
    parts = _tensors(state)
    is_sharded = any(map(is_shared, parts["model"].values()))
    try:
        if world.is_first:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        if is_sharded:
            _write_shards(parts, temporary, world)
        elif world.is_first:
            for name, tensors in parts.items():
                save_file(_contiguous(tensors), temporary / f"{name}.safetensors")
        if world.is_first:
            about = {"step": state.step, "rate_scale": state.rate_scale, **describe}
            (temporary / "state.json").write_text(json.dumps(about, indent=2))
            reveal(temporary, target)
            _point(run / LAST, target)
    except (SafetensorError, OSError) as error:
        raise SoraditError(f"can't save {target}: {error}: run again to go on from the one before") from error
    finally:
        if world.is_first:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_shards(parts: dict[str, dict[str, Tensor]], folder: Path, world: World) -> None:
    """Each process writes its parts of the tensors; the first one joins them to the files of an ordinary folder."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    for name, tensors in parts.items():
        shards = folder / name
        writer = HuggingFaceStorageWriter(str(shards), save_distributed=True, enable_consolidation=True)
        dcp.save({key: tensor.detach() for key, tensor in tensors.items()}, storage_writer=writer)
        if world.is_first:
            (joined,) = shards.glob("*.safetensors")
            os.replace(joined, folder / f"{name}.safetensors")
            shutil.rmtree(shards)


def write_rate_scale(checkpoint: Path, scale: float) -> None:
    """Whoever goes on from there takes steps of that share of the learning rate, even after a stop before the next."""
    about = read_state(checkpoint) | {"rate_scale": scale}
    try:
        write_whole(checkpoint / "state.json", json.dumps(about, indent=2))
    except OSError as error:
        raise SoraditError(f"can't write {checkpoint}: {error.strerror}: run again to go on from it") from error


def prune_checkpoints(run: Path, keep: int) -> None:
    """Remove all but the newest ``keep``, and what killed processes left half-written."""
    for unfinished in (*run.glob(".*.tmp"), *run.glob("*/.*.tmp")):
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)
    for old in list_checkpoints(run)[:-keep]:
        unlisted = old.with_name(f".{old.name}.tmp")  # lest a kill in the middle leaves part of a checkpoint
        os.replace(old, unlisted)
        shutil.rmtree(unlisted, ignore_errors=True)


def list_checkpoints(run: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return step_folders(run / FOLDER)


def set_aside_later(run: Path, checkpoint: Path) -> list[Path]:
    """Move checkpoints from which ``run`` turns back, going on from ``checkpoint``, out of sight of the next resume.

    Where ``checkpoint`` is none of ``run``'s own, which those before it lead to, all of them are. Returns where they
    are now.
    """
    step = read_state(checkpoint)["step"]
    own = list_checkpoints(run)
    is_own = checkpoint.resolve() in [each.resolve() for each in own]
    moved = []
    for later in own:
        if later.resolve() != checkpoint.resolve() and (step_of(later) >= step or not is_own):
            target = later.parent / SET_ASIDE / later.name
            target.parent.mkdir(exist_ok=True)
            while target.exists():  # of an earlier turn, which may be what is resumed from
                target = target.with_name(f"{target.name}+")
            os.replace(later, target)
            moved.append(target)
    if kept := list_checkpoints(run):
        _point(run / LAST, kept[-1])
    else:
        (run / LAST).unlink(missing_ok=True)
    return moved


def read_state(checkpoint: Path) -> dict:
    """The ``state.json`` of a checkpoint; raises SoraditError when it can't be read."""
    try:
        state = json.loads((checkpoint / "state.json").read_text())
        if not isinstance(state, dict) or not isinstance(state.get("step"), int):
            raise ValueError("its state.json names no step")
        return state
    except FileNotFoundError as error:
        raise SoraditError(f"{checkpoint} is not a checkpoint (it has no state.json): {ANOTHER}") from error
    except (OSError, ValueError) as error:
        raise SoraditError(f"{checkpoint} is not a checkpoint ({error}): {ANOTHER}") from error


def load_checkpoint(checkpoint: Path, state: TrainState) -> None:
    """Put a saved state back, in place. Raises SoraditError when files are damaged or don't fit."""
    about = read_state(checkpoint)
    try:
        parts = _tensors(state)
        saved = {name: load_file(checkpoint / f"{name}.safetensors") for name in parts}
        for name, tensors in parts.items():
            _copy(tensors, saved[name])
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise SoraditError(f"can't resume from {checkpoint} ({first_line(error)}): {ANOTHER}") from error
    state.step, state.rate_scale = about["step"], about.get("rate_scale", 1.0)


def _point(link: Path, target: Path) -> None:
    """For people and scripts; a file system without links does without."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        temporary.symlink_to(target.relative_to(link.parent))
        os.replace(temporary, link)


def _tensors(state: TrainState) -> dict[str, dict[str, Tensor]]:
    tracked = {f"ema-{length}": average for length, average in state.tracked.items()}
    model = {**state.trained, **persistent_buffers(state.model)}
    return {"model": model, "ema": state.ema, **tracked, "optimizer": _optimizer_tensors(state)}


def _optimizer_tensors(state: TrainState) -> dict[str, Tensor]:
    """The optimizers' state, in place, by the names of the parameters that it belongs to."""
    of = {parameter: tensors for optimizer in state.optimizers for parameter, tensors in optimizer.state.items()}
    return {  # numbers as vectors of one: joining shards loses tensors without a dimension
        f"{name}.{key}": torch.atleast_1d(value)
        for name, parameter in state.trained.items()
        for key, value in of[parameter].items()
    }


@torch.no_grad()
def _copy(targets: dict[str, Tensor], sources: dict[str, Tensor]) -> None:
    if unknown := targets.keys() ^ sources.keys():
        raise ValueError(f"it and the model differ in {min(unknown)}")
    for name, source in sources.items():
        if targets[name].shape != source.shape:
            raise ValueError(f"{name} is {tuple(source.shape)}, not {tuple(targets[name].shape)}")
        copy_whole(targets[name], source)


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
