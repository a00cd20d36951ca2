"""``soradit train``: a folder of captioned clips -> a run, which is a folder of weights too."""

import json
import time
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from soradit.errors import SoraditError, StateSaved
from soradit.files import write_whole
from soradit.media.clips import Clip, find_clips, split_clips
from soradit.media.mirror import mirror_clip
from soradit.report import Report
from soradit.tasks.objectives import BUILDERS, Split, encode_share
from soradit.text import count
from soradit.training.checkpoint import read_state
from soradit.training.config import OF_AUTOENCODER, LoopConfig, TrainConfig, require_together
from soradit.training.distributed import World, joined, parallelize
from soradit.training.journal import Journal
from soradit.training.log import Logged, errors_logged
from soradit.training.loop import run_loop
from soradit.training.memory import memory_advice
from soradit.training.run import (
    RUN_CONFIG,
    beginning,
    checkpoint_to_resume,
    describe_run,
    forget_after,
    locked_run,
    prepare_run,
    undone_if_refused,
)
from soradit.training.stop import Stop, Stoppable, StopRequested
from soradit.training.story import and_mirrored, samples_of, tell_story
from soradit.training.transformer import TransformerObjective

TOO_FEW = "too few to hold out: held-out figures are of these themselves"


def train(config: TrainConfig, loop: LoopConfig, report: Report | None = None) -> Path:
    """Train one component and return the run's folder.

    Raises SoraditError for what can't be trained, StateSaved when stopped early with everything saved.
    """
    with joined() as world, ExitStack() as held:
        require_possible(config, loop, world)
        world.led(lambda: held.enter_context(locked_run(config.run)))
        report = Logged(report or Report(), config.run) if world.is_first else Report()
        with (
            Stop(config.run, loop.max_hours, report=report) as stop,
            errors_logged(config.run, is_first=world.is_first),
        ):
            _train(config, loop, stop, report, world)
    return config.run


def _train(config: TrainConfig, loop: LoopConfig, stop: Stop, report: Report, world: World) -> None:
    began = time.monotonic()
    with undone_if_refused(config.run) if world.is_first else nullcontext():
        clips = _split(config, report)
        checkpoint, described = world.led(lambda: _begin(config, loop, report))
        try:
            if world.size > 1:
                encode_share(config, clips, world, Stoppable(report, stop))
            torch.manual_seed(loop.seed)
            stoppable = Stoppable(report, stop, clock=config.component not in OF_AUTOENCODER)
            objective = BUILDERS[config.component](config, loop, clips, stoppable)
        except StopRequested as reason:
            kept = "what was encoded until now is kept"
            raise StateSaved(f"{reason}: state saved before the first step, {kept}; run again to go on") from None
    if isinstance(objective, TransformerObjective):
        objective.network = parallelize(objective.model, world, shard=config.shard)
    stop.agree = world.agree
    fresh = described["began"]["fresh"]
    story = tell_story(config, loop, objective, clips.training, clips.held_out, fresh=fresh, world=world)
    steps = f"{count(loop.steps, 'step')} of {count(loop.batch_size, 'clip')} each"
    report.note(f"{config.component}: {story.facts['parameters']}, {steps}")
    own_share = replace(loop, batch_size=loop.batch_size // world.size)
    run_loop(
        objective,
        loop,
        config.run,
        resume_from=checkpoint,
        report=report,
        describe=described,
        journal=partial(
            Journal,
            config.run,
            batch_size=loop.batch_size,
            story=story,
            began=began,
            report=report,
            writes=world.is_first,
        ),
        samples=samples_of(objective, config, world),
        keep_best=isinstance(objective, TransformerObjective),
        stop=stop,
        world=world,
        memory_advice=lambda: memory_advice(config, own_share, objective),
    )


def require_possible(config: TrainConfig, loop: LoopConfig, world: World) -> None:
    """Raises SoraditError for what can't be asked for together, or of so many processes."""
    require_together(config, loop)
    if world.size > 1 and config.component != "transformer":
        what = f"component {config.component} is trained by one process, not {world.size}"
        raise SoraditError(f"{what}: start it without torchrun")
    if loop.batch_size % (shares := world.size * loop.accumulate):
        raise SoraditError(f"--batch-size {loop.batch_size} can't be shared out equally: use a multiple of {shares}")


def _begin(config: TrainConfig, loop: LoopConfig, report: Report) -> tuple[Path | None, dict[str, dict[str, Any]]]:
    """Prepare the run's folder, unless it goes on; return the checkpoint that it goes on from, and what the run is."""
    described = describe_run(config, loop)
    checkpoint = checkpoint_to_resume(config, described, report)
    if checkpoint is None or not (config.run / RUN_CONFIG).is_file():
        prepare_run(config)
    if checkpoint is None:
        forget_after(config.run, 0)
    began = read_state(checkpoint).get("began") if checkpoint else None
    described["began"] = began or beginning(config)
    write_whole(config.run / RUN_CONFIG, json.dumps(described, indent=2) + "\n")
    return checkpoint, described


def tell_of_shared(training: list[Clip], held_out: list[Clip], report: Report) -> None:
    if both := {clip.path.resolve() for clip in training} & {clip.path.resolve() for clip in held_out}:
        report.note(f"{len(both)} of those held out are trained on, too: their loss won't tell what is learnt by heart")


def _split(config: TrainConfig, report: Report) -> Split:
    clips, mirrored = find_clips(config.data), and_mirrored(config.flip)
    training, held_out = split_clips(clips) if config.held_out is None else (clips, find_clips(config.held_out))
    apart = f"{len(held_out)} held out" + (f" in {config.held_out}" if config.held_out else "")
    if len(held_out) < (2 if config.component == "text_encoder" else 1):  # which tells clips from one another
        apart, held_out = TOO_FEW, training
    report.note(f"{count(len(clips), 'clip')} in {config.data}: {len(training)}{mirrored} to train on, {apart}")
    if config.held_out:
        tell_of_shared(training, held_out, report)
    return Split(training=[*training, *map(mirror_clip, training)] if config.flip else training, held_out=held_out)
