"""The training loop, shared by transformer, autoencoder and text encoder.

What differs between them is an Objective: its batches, its loss, and how it is published into the run's folder of
weights. What is the same is here, in ``Training.run``: a step, its record, held-out figures, samples, checkpoints.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from torch import Tensor

from soradit.errors import SoraditError, StateSaved
from soradit.report import Report
from soradit.training.ahead import Ahead
from soradit.training.best import FOLDER as BEST
from soradit.training.best import Best, best_of, save_best
from soradit.training.checkpoint import (
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
    write_rate_scale,
)
from soradit.training.config import LoopConfig
from soradit.training.distributed import ALONE, World, exchange_gradients, whole
from soradit.training.guard import MAX_RETURNS, Diverged, Guard, memory_guard
from soradit.training.interruptible import interruptible, is_compiled
from soradit.training.journal import Journal
from soradit.training.objective import Objective
from soradit.training.run import turn_back_to
from soradit.training.samples import MAKING, Samples
from soradit.training.snapshots import save_snapshots
from soradit.training.state import TrainState
from soradit.training.stop import Stop, StopRequested

READ_EVERY_STEPS = 10
"""How often several processes read their figures; one by itself does when it is time."""
PATIENCE_SECONDS = 2.0
"""A step that has taken longer than this is not waited for by a stop: it is taken again."""


def run_loop(
    objective: Objective,
    config: LoopConfig,
    run: Path,
    *,
    resume_from: Path | None,
    report: Report,
    describe: dict,
    journal: Callable[[int], Journal] | None = None,
    samples: Samples | None = None,
    keep_best: bool = False,
    stop: Stop | None = None,
    world: World = ALONE,
    memory_advice: Callable[[], str] = lambda: "use a smaller --batch-size",
) -> None:
    """Train to ``config.steps``, from the start or from a checkpoint; ``describe`` is saved with each checkpoint.

    With ``keep_best``, the weights that had the lowest held-out loss are published into ``run / best``, too.

    Raises StateSaved when something asks it to stop early: run again to go on. Raises SoraditError when the run can't
    be written, memory runs out, or training diverges in spite of a smaller learning rate.
    """
    state = TrainState.begin(objective.model.train(), config)
    if resume_from is not None:
        load_checkpoint(resume_from, state)
        if world.is_first:
            turn_back_to(run, resume_from, report)
        report.note(f"resuming from {resume_from}")
        if state.step >= config.steps:
            report.note(f"{run} is trained to step {state.step} already: more --steps would go on")
    training = Training(
        objective=objective,
        config=config,
        run=run,
        state=state,
        journal=journal(state.step) if journal else Journal(run, state.step, batch_size=config.batch_size),
        guard=Guard(objective.examples, report),
        samples=samples,
        keep_best=keep_best,
        stop=stop or Stop(run, config.max_hours),
        world=world,
        report=report,
        describe=describe,
    )
    try:
        with training.stop if stop is None else nullcontext():
            training.run_to_end(memory_advice)
    except (OSError, SafetensorError) as error:
        raise SoraditError(f"can't write into {run} ({error}): run again to go on from its last checkpoint") from error


@dataclass(kw_only=True)
class Training:
    """A run on its way: the loop, and what it does now and then."""

    objective: Objective
    config: LoopConfig
    run: Path
    state: TrainState
    journal: Journal
    guard: Guard
    samples: Samples | None
    keep_best: bool
    stop: Stop
    world: World
    report: Report
    describe: dict
    first_step: int = field(init=False)
    """The step that this process began at: 0, or that of the checkpoint it went on from."""
    saved_step: int | None = None
    """The step of the last checkpoint that this process has saved, weights and all."""

    def __post_init__(self) -> None:
        self.first_step = self.state.step

    def run_to_end(self, memory_advice: Callable[[], str]) -> None:
        """Train, and say how it ended."""
        try:
            with memory_guard(memory_advice):
                self.train_or_turn_back()
        finally:
            self.journal.close()
        said, best = f"trained to step {self.state.step}", best_of(self.run)
        if 0 < best.step < self.state.step:
            said += f"; held-out loss was lowest at step {best.step} ({best.held_out_loss:.4f})"
            said += f": those weights are in {self.run / BEST}"
        self.report.note(said)

    def train_or_turn_back(self) -> None:
        """Until all steps are taken; leave when asked to stop, turn back and try again when training diverges."""
        while True:
            try:
                return self.train()
            except StopRequested as reason:
                self.save_and_leave(reason)
            except Diverged as trouble:
                self.turn_back(trouble)

    def train(self) -> None:
        """The loop."""
        state, config = self.state, self.config
        with (
            Ahead(self.draw, range(state.step, config.steps), while_waiting=self.poll_amid_step) as batches,
            self.report.progress("training", config.steps) as progress,
        ):
            if state.step:
                progress.update(state.step)
            self.look_around(clock=False)  # the process before this one may have been stopped in the middle of it
            for parts in batches:
                figures = self.step(parts) | {"waited_seconds": batches.waited_seconds}
                self.journal.add(state.step, figures)
                self.read_journal()
                progress.update(state.step, self.journal.summary)
                if self.is_due(config.checkpoint_every) and self.is_well():
                    self.save()
                self.look_around()
                if state.step < config.steps:
                    self.stop.poll()
            self.save()

    def draw(self, step: int) -> list[Any]:
        parts = self.world.parts(self.config.batch_size, self.config.accumulate)
        return [self.objective.batch(step, part) for part in parts]

    def step(self, parts: list[Any]) -> dict[str, float | Tensor]:
        """One update of the weights and of their average; until then nothing has changed, and a stop may come."""
        losses: list[Tensor] = []
        poll = partial(self.poll_amid_step, patient_until=time.monotonic() + PATIENCE_SECONDS)
        with self.stoppable(poll):
            for part in parts:
                if losses:
                    self.stop.poll(clock=self.has_stepped)
                exchange_gradients(self.objective.network, len(losses) == len(parts) - 1)
                loss = self.objective.loss(part, self.state.step) / len(parts)
                poll()
                loss.backward()
                losses.append(loss.detach())
        return self.state.apply_gradients(self.world.mean(torch.stack(losses).sum()), self.config)

    @contextmanager
    def stoppable(self, poll: Callable[[], None]) -> Iterator[None]:
        """In the middle of the model's work. Not of several processes': they stop at places that all come to."""
        model = self.objective.model
        if self.world.size > 1:
            yield
            return
        with interruptible(model, poll), self.stop.at_once() if is_compiled(model) else nullcontext():
            yield

    def poll_amid_step(self, patient_until: float = 0.0) -> None:
        if self.world.size == 1 and time.monotonic() > patient_until:
            self.stop.poll(clock=self.has_stepped)

    @property
    def has_stepped(self) -> bool:
        """Whether ``max_hours`` may cut a step short: not the first one, lest runs that hurry never come further."""
        return self.state.step > self.first_step

    def look_around(self, *, clock: bool = True) -> None:
        """Save what is due: snapshots, and, unless they are there already, held-out figures and samples.

        What the process before this one was stopped in is done without looking at the ``clock``, lest it never be.
        """
        config, poll = self.config, partial(self.stop.poll, clock=clock)
        if config.snapshots and self.is_due(math.ceil(config.steps / config.snapshots)):
            self.save_snapshots()
        if self.is_due(config.evaluate_every):
            self.read_journal(now=True)
            if not self.journal.is_evaluated(self.state.step):
                with self.aside():
                    with self.state.averaged(), self.stoppable(poll):
                        figures = self.objective.evaluate(poll)
                    if self.keep_best:
                        self.save_if_best(figures["held_out_loss"])
                    self.journal.amend(self.state.step, figures)
        if self.samples and self.is_due(config.sample_every) and not self.samples.are_there(self.state.step):
            self.report.note(f"{MAKING}{self.state.step}")
            with self.aside(), self.state.averaged(), self.stoppable(poll):
                self.make(self.samples, poll)

    def save_if_best(self, held_out_loss: float) -> None:
        published = self.state.published()
        if self.world.is_first and held_out_loss < best_of(self.run).held_out_loss:
            save_best(self.run, Best(self.state.step, held_out_loss), published, self.objective.publish)

    def make(self, samples: Samples, poll: Callable[[], None]) -> None:
        """Samples are to look at: that they can't be made is no reason to end a training."""
        try:
            samples.make(self.state.step, poll)
        except SoraditError as error:
            if self.world.size > 1:  # the others would wait for this one
                raise
            self.report.note(f"no samples of step {self.state.step}: {error}")

    def save_snapshots(self) -> None:
        with self.aside():
            averages = {
                length: {name: whole(tensor) for name, tensor in average.items()}
                for length, average in self.state.tracked.items()
            }
            if self.world.is_first:
                save_snapshots(self.run, self.state.step, averages)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What happens inside takes none of the steps' time."""
        self.read_journal(now=True)
        yield
        self.journal.start_clock()

    def is_due(self, every: int) -> bool:
        return self.state.step > 0 and (self.state.step % every == 0 or self.state.step == self.config.steps)

    def read_journal(self, *, now: bool = False) -> None:
        """Read what the last steps' figures were; raises Diverged when they are too bad to go on."""
        if self.world.size > 1:  # all at the same step, lest one turns back and another doesn't
            now = now or self.state.step % READ_EVERY_STEPS == 0
        elif self.journal.is_time:
            now = True
        for row in self.journal.flush() if now else ():
            self.guard.see(row)

    def is_well(self) -> bool:
        """Whether the last step was taken; if not, it may be for weights that are no place to go back to."""
        self.read_journal(now=True)
        return self.guard.in_a_row == 0

    def save(self) -> None:
        """All that the next step depends on, and the weights so far."""
        with self.aside():
            self.journal.sync()
            if self.saved_step == self.state.step:
                return
            save_checkpoint(self.run, self.state, self.describe, self.world)
            published = self.state.published()
            if self.world.is_first:
                self.objective.publish(self.run, published)
                prune_checkpoints(self.run, self.config.keep_checkpoints)
            self.saved_step = self.state.step

    def save_and_leave(self, reason: StopRequested) -> NoReturn:
        self.state.model.zero_grad()  # of a step that was cut short
        try:
            self.save()
        except Diverged as trouble:
            self.turn_back(trouble)
        at = f"step {self.state.step} of {self.config.steps}"
        raise StateSaved(f"{reason}: state saved at {at} in {self.run}; run again to go on") from None

    def turn_back(self, trouble: Diverged) -> None:
        """To the last checkpoint, with half the learning rate. Raises SoraditError when that is no use any more."""
        scale, found = self.state.rate_scale / 2, list_checkpoints(self.run)
        if not found or scale < 0.5**MAX_RETURNS:
            why = f" in spite of a learning rate {1 / self.state.rate_scale:g} times smaller" if found else ""
            raise SoraditError(f"{trouble}{why}: try a smaller --lr, and soradit check on the clips named above")
        load_checkpoint(found[-1], self.state)
        if self.world.is_first:
            turn_back_to(self.run, found[-1], self.report)
            write_rate_scale(found[-1], scale)
        self.state.rate_scale, self.saved_step = scale, None
        self.guard.in_a_row = 0
        self.journal.rewind(self.state.step)
        self.report.note(f"{trouble}: back to {found[-1]} with {scale:g} times the learning rate")
