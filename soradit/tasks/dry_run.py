"""``soradit train --dry-run``: whether a training can run, and what it will take, before anything is trained."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from soradit.device import choose_device, choose_precision
from soradit.errors import SoraditError, UsageError
from soradit.media.clips import split_clips
from soradit.model.config import latent_grid, load_autoencoder_config, load_generation_config
from soradit.model.cost import num_bytes, num_parameters
from soradit.model.weights import load_text
from soradit.report import Report
from soradit.tasks.check import check
from soradit.tasks.checked import Checked
from soradit.tasks.objectives import saved_or_fresh_transformer
from soradit.tasks.train import TOO_FEW, require_possible, tell_of_shared
from soradit.text import in_words
from soradit.training.base import find_base
from soradit.training.config import LoopConfig, TrainConfig
from soradit.training.distributed import ALONE
from soradit.training.estimate import ExampleShape, flops_per_clip, step_seconds
from soradit.training.intact import require_few_bad
from soradit.training.memory import as_trained, transformer_bytes
from soradit.training.run import checkpoint_to_resume, describe_run, prepare_run
from soradit.training.snapshots import LENGTHS
from soradit.training.state import trained_parameters
from soradit.training.story import and_mirrored

GB = 1e9
COPIES_IN_CHECKPOINT = 4
"""What is trained, four times in float32: the weights, their average, and AdamW's two; tracked averages come on top."""

FOLDERS_OF_WEIGHTS = 3
"""The run's own, the best one, and another of it half-written."""
COMPUTED_TWICE = 4 / 3
"""Times a step's time: the way forwards is a third of it, and the way back the rest."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a training will take."""

    clips: int
    """That can be trained on."""
    flip: bool
    """Whether their mirror images are trained on, too."""
    held_out: int
    parameters: int
    trained_parameters: int
    tokens: int
    """Tokens of a clip."""
    flops_per_step: float
    seconds_per_step: float
    """On this machine as busy as it is; without evaluations and samples."""
    steps: int
    memory_bytes: float
    """What the whole process takes at its largest."""
    disk_bytes: float
    """What the run's folder takes at its largest, without samples."""

    def lines(self) -> Iterator[str]:
        """For people."""
        duration = in_words(self.steps * self.seconds_per_step)
        training = f"{self.clips}{and_mirrored(self.flip)} to train on"
        held_out = f"{self.held_out} held out" if self.held_out else TOO_FEW
        yield f"clips       {training}, {held_out}, {self.tokens} tokens each"
        yield f"parameters  {self.trained_parameters:,} trained of {self.parameters:,}"
        yield f"a step      {self.flops_per_step / 1e9:,.0f} GFLOP, {self.seconds_per_step:.2f} s on this machine now"
        yield f"in all      {self.steps} steps, {duration}, and evaluations and samples"
        yield f"memory      {self.memory_bytes / GB:.2f} GB"
        yield f"disk        {self.disk_bytes / GB:.2f} GB"


def dry_run(config: TrainConfig, loop: LoopConfig, report: Report | None = None) -> Estimate:
    """Check data, weights, sizes and disk as a training would, and estimate what it takes; leaves nothing behind.

    Raises SoraditError for what would be refused, and where the disk is too small.
    """
    if config.component != "transformer":
        raise UsageError(f"--dry-run is for --component transformer, not {config.component}")
    require_possible(config, loop, ALONE)
    find_base(config)
    checkpoint_to_resume(config, describe_run(config, loop), report or Report())
    clips, held_out = _usable_clips(config, report)
    with tempfile.TemporaryDirectory() as folder:
        estimate = _estimate(replace(config, run=Path(folder)), loop, clips=clips, held_out=held_out)
    _require_disk(config.run, estimate.disk_bytes)
    return estimate


def _usable_clips(config: TrainConfig, report: Report | None) -> tuple[int, int]:
    """How many can be trained on, and evaluated on. Raises SoraditError where encoding them would."""
    training = _checked(config.data, config, report)
    if config.held_out is None:
        parts = split_clips([row.clip for row in training])
        rows = training
    else:
        held_out = _checked(config.held_out, config, report)
        parts = [row.clip for row in training], [row.clip for row in held_out]
        rows = training + held_out
        tell_of_shared(*parts, report or Report())
    require_few_bad([f"{row.clip.path}: {row.reason}" for row in rows if row.is_bad], len(rows))
    usable = {row.clip for row in rows if row.windows}
    return len(usable.intersection(parts[0])), len(usable.intersection(parts[1]))


def _checked(folder: Path, config: TrainConfig, report: Report | None) -> list[Checked]:
    return list(
        check(
            folder,
            weights=config.weights,
            overrides={name: getattr(config, name) for name in ("height", "width", "num_frames", "fps")},
            max_bad=1.0,
            buckets=config.buckets,
            keep_damaged=config.keep_damaged,
            split=config.held_out is None,
            report=report,
        )
    )


def _estimate(config: TrainConfig, loop: LoopConfig, *, clips: int, held_out: int) -> Estimate:
    prepare_run(config)
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    latents, text = load_autoencoder_config(config.run), load_text(config.run)
    grid = latent_grid(load_generation_config(config.run), latents.token_size)
    model = saved_or_fresh_transformer(config, latents.latent_channels)
    dit = model.config
    shape = ExampleShape(
        latents=(*grid, dit.latent_channels), text=(text.max_tokens, text.text_dim), pooled=text.pooled_dim
    )
    beside = psutil.Process().memory_info().rss - num_bytes(model.parameters()) if device.type == "cpu" else 0
    model = as_trained(model, config)
    trained = num_parameters(trained_parameters(model).values())
    published = sum(file.stat().st_size for file in config.run.rglob("*") if file.is_file())
    seconds = step_seconds(dit, shape, loop, device=device, precision=precision, lora=config.lora)
    return Estimate(
        clips=clips,
        flip=config.flip,
        held_out=held_out,
        parameters=num_parameters(model.parameters()),
        trained_parameters=trained,
        tokens=shape.num_tokens,
        flops_per_step=loop.batch_size * flops_per_clip(dit, shape, lora=config.lora),
        seconds_per_step=seconds * (COMPUTED_TWICE if config.checkpoint_activations else 1),
        steps=loop.steps,
        memory_bytes=beside + transformer_bytes(model, config, loop, shape),
        disk_bytes=FOLDERS_OF_WEIGHTS * published + _training_bytes(loop, trained),
    )


def _training_bytes(loop: LoopConfig, trained: int) -> int:
    """Bytes of checkpoints, one of them half-written, and snapshots (float16)."""
    tracked = len(LENGTHS) if loop.snapshots else 0
    checkpoints = (loop.keep_checkpoints + 1) * (COPIES_IN_CHECKPOINT + tracked) * 4 * trained
    return checkpoints + loop.snapshots * tracked * 2 * trained


def _require_disk(run: Path, needed_bytes: float) -> None:
    """Raises SoraditError when the run's folder would not fit, what it holds already being replaced."""
    held = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    there = next(folder for folder in (run.resolve(), *run.resolve().parents) if folder.exists())
    if (free := shutil.disk_usage(there).free + held) < needed_bytes:
        needed = f"{needed_bytes / GB:.1f} GB are needed, {free / GB:.1f} GB are free"
        raise SoraditError(f"the disk of {run} is too small: {needed}: choose another with -o, or fewer --keep")
