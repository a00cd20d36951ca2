"""Whatever kills a training, the same command goes on from its last checkpoint as if nothing had happened."""

import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_loop import CONFIG, Line, assert_same_end, rows, run
from torch import Tensor, nn

from soradit.errors import SoraditError, StateSaved
from soradit.model.config import GenerationConfig
from soradit.report import Report
from soradit.training import loop as loop_module
from soradit.training.checkpoint import list_checkpoints, prune_checkpoints
from soradit.training.config import LoopConfig
from soradit.training.loop import run_loop
from soradit.training.samples import Samples, list_samples
from soradit.training.stop import Stop, StopRequested
from soradit.video import Request, Video

SAMPLING = replace(CONFIG, sample_every=5)
LONG = replace(CONFIG, steps=40, evaluate_every=5, checkpoint_every=2)
FORK = multiprocessing.get_context("fork")


def kill_at_random_moments(folder: Path, times: int, seed: int) -> int:
    """Run in processes of their own, killed one after another; return how many were still alive to be killed."""
    draw, killed = random.Random(seed), 0
    for _ in range(times):
        slowly = Line(at_step=lambda step: time.sleep(0.03))  # so that most are killed before they end
        process = FORK.Process(target=run, args=(slowly, folder, LONG))
        process.start()
        process.join(0.6 * draw.random())
        killed += process.is_alive()
        process.kill()
        process.join()
    return killed


@pytest.mark.parametrize("times", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_equals_an_unbroken_one(tmp_path: Path, times: int) -> None:
    killed, folders = 0, []
    while killed < times:
        folders.append(tmp_path / f"run-{len(folders)}")
        killed += kill_at_random_moments(folders[-1], times=5, seed=len(folders))
    run(Line(), tmp_path / "unbroken", LONG)
    for folder in folders:
        run(Line(), folder, LONG)
        assert_same_end(folder, tmp_path / "unbroken")
        assert not list(folder.rglob("*.tmp"))


class Wide(Line):
    """With an optimizer of some size."""

    def __init__(self, at_step: Callable[[int], None] = lambda step: None) -> None:
        super().__init__(at_step)
        torch.manual_seed(0)
        self.network = self.model = nn.Sequential(nn.Linear(3, 20_000), nn.Tanh(), nn.Linear(20_000, 2))


def test_a_disk_that_fills_up_costs_no_checkpoint(tmp_path: Path) -> None:
    """Files may not grow beyond the size of the weights: the optimizer, twice as large, is not written whole."""

    def train_until_full() -> None:
        def fill(step: int) -> None:
            if step == 6:
                resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))

        try:
            run(Wide(fill), tmp_path / "run")
        except SoraditError as error:
            (tmp_path / "message").write_text(str(error))

    process = FORK.Process(target=train_until_full)
    process.start()
    process.join(60)
    message = (tmp_path / "message").read_text()
    assert "can't save" in message
    assert "step-00000008" in message
    assert message.endswith("run again to go on from the one before")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000004"]
    run(Wide(), tmp_path / "run")
    run(Wide(), tmp_path / "unbroken")
    assert_same_end(tmp_path / "run", tmp_path / "unbroken")


def test_a_kill_while_an_old_checkpoint_is_removed_leaves_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def remove_a_little(folder: Path, **_: bool) -> None:
        (folder / "state.json").unlink()
        raise Killed

    run(Line(), tmp_path, replace(LONG, steps=6))
    with monkeypatch.context() as patch:
        patch.setattr("soradit.training.checkpoint.shutil.rmtree", remove_a_little)
        with pytest.raises(Killed):
            prune_checkpoints(tmp_path, 1)
    assert [checkpoint.name for checkpoint in list_checkpoints(tmp_path)] == ["step-00000006"]
    (another := tmp_path / "another" / "checkpoints" / ".step-00000001.tmp").mkdir(parents=True)
    run(Line(), tmp_path, replace(LONG, steps=8))
    assert list(tmp_path.rglob("*.tmp")) == [another], "what another run inside this one's folder is at stays"


def test_a_stop_while_evaluating_loses_neither_step_nor_figures(tmp_path: Path) -> None:
    class Interrupted(Line):
        def evaluate(self, poll: Callable[[], None]) -> dict[str, float]:
            os.kill(os.getpid(), signal.SIGTERM)
            poll()
            raise AssertionError("poll must have raised")

    with pytest.raises(StateSaved, match="SIGTERM: state saved at step 5 of 12"):
        run(Interrupted(), tmp_path / "run")
    assert not rows(tmp_path / "run")[-1]["held_out_loss"]
    run(Line(), tmp_path / "run")
    run(Line(), tmp_path / "unbroken")
    assert_same_end(tmp_path / "run", tmp_path / "unbroken")


class Sampler:
    """Takes 40 sampling steps a video, and calls ``at_step`` before each."""

    def __init__(self, at_step: Callable[[], None]) -> None:
        self.at_step = at_step

    def __call__(self, prompt: str, *, seed: int, on_step: Callable[[int], None]) -> Video:
        for step in range(40):
            self.at_step()
            on_step(step)
        request = Request(prompt=prompt, seed=seed)
        frames = np.zeros((4, 32, 32, 3), np.uint8)
        return Video(frames=frames, request=request, settings=GenerationConfig(num_frames=4), weights="")


def run_with_samples(folder: Path, at_step: Callable[[], None] = lambda: None, config: LoopConfig = SAMPLING) -> None:
    found = list_checkpoints(folder)
    run_loop(
        Line(),
        config,
        folder,
        resume_from=found[-1] if found else None,
        report=Report(),
        describe={"a": 1},
        samples=Samples(folder, ["sky", "sea"], lambda: Sampler(at_step)),
    )


def test_a_stop_while_sampling_loses_neither_step_nor_sample(tmp_path: Path) -> None:
    calls: list[int] = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 50:  # in the second video
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StateSaved, match="SIGTERM: state saved at step 5 of 12"):
        run_with_samples(tmp_path / "run", stop)
    assert len(calls) == 50
    assert not list_samples(tmp_path / "run")
    run_with_samples(tmp_path / "run")
    run(Line(), tmp_path / "unbroken")
    assert_same_end(tmp_path / "run", tmp_path / "unbroken")
    assert [folder.name for folder in list_samples(tmp_path / "run")] == [f"step-{s:08d}" for s in (5, 10, 12)]


def test_samples_that_cannot_be_made_end_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise SoraditError("no room for it")

    notes: list[str] = []
    monkeypatch.setattr(Report, "note", lambda _, line: notes.append(line))
    run_with_samples(tmp_path / "run", fail)
    told = [line for line in notes if line.startswith("no samples")]
    assert told == [f"no samples of step {step}: no room for it" for step in (5, 10, 12)]
    assert not list_samples(tmp_path / "run")
    run(Line(), tmp_path / "unbroken")
    assert_same_end(tmp_path / "run", tmp_path / "unbroken")


def test_max_hours_ends_evaluation_and_sampling_too(tmp_path: Path) -> None:
    """What is cut short is done by the next process, whatever its own limit: each comes further."""

    class Polling(Line):
        def evaluate(self, poll: Callable[[], None]) -> dict[str, float]:
            poll()
            return super().evaluate(poll)

    config = replace(CONFIG, steps=4, evaluate_every=1, max_hours=1e-9)
    for step in range(1, 4):
        with pytest.raises(StateSaved, match=rf"--max-hours 1e-09: state saved at step {step} of 4"):
            run(Polling(), tmp_path / "run", config)
        assert [bool(row["held_out_loss"]) for row in rows(tmp_path / "run")] == [True] * (step - 1) + [False]
    config = replace(config, evaluate_every=100, sample_every=1)
    for step in range(1, 4):
        with pytest.raises(StateSaved, match=rf"--max-hours 1e-09: state saved at step {step} of 4"):
            run_with_samples(tmp_path / "sampling", config=config)
        assert len(list_samples(tmp_path / "sampling")) == step - 1


def test_a_stop_in_the_middle_of_a_batch_takes_no_half_step(tmp_path: Path) -> None:
    config = replace(CONFIG, accumulate=4)
    calls: list[int] = []

    def stop(step: int) -> None:
        calls.append(step)
        if calls.count(6) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StateSaved, match="SIGTERM: state saved at step 6 of 12"):
        run(Line(stop), tmp_path / "run", config)
    run(Line(), tmp_path / "run", config)
    run(Line(), tmp_path / "unbroken", config)
    assert_same_end(tmp_path / "run", tmp_path / "unbroken")


class Slowly(torch.autograd.Function):
    """The identity, which calls ``at_work("forward")`` and, on the way back, ``at_work("backward")``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, at_work: Callable[[str], None]) -> Tensor:
        ctx.at_work = at_work
        at_work("forward")
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.at_work("backward")
        return gradient, None


class SlowBlock(nn.Module):
    def __init__(self, at_work: Callable[[str], None]) -> None:
        super().__init__()
        self.at_work = at_work

    def forward(self, x: Tensor) -> Tensor:
        return Slowly.apply(x, self.at_work)


BLOCKS = 4


class Layers(nn.Module):
    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Slow(Line):
    """A step is the work of several blocks, each way; ``at_work`` hears of each."""

    def __init__(self, at_work: Callable[[int, str], None] = lambda step, way: None) -> None:
        super().__init__(lambda step: setattr(self, "step", step))
        blocks = [SlowBlock(lambda way: at_work(self.step, way)) for _ in range(BLOCKS)]
        self.network = self.model = Layers([self.model[0], *blocks, *self.model[1:]])


@pytest.mark.parametrize("patience", [0.0, 0.5])
@pytest.mark.parametrize("step", [0, 6])
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_a_stop_in_the_middle_of_a_long_step_does_not_wait_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, step: int, patience: float
) -> None:
    """It is as if the step had not begun. A step that is not a long one yet, is ended."""
    monkeypatch.setattr(loop_module, "PATIENCE_SECONDS", patience)
    since: list[str] = []

    def work(at: int, on_the_way: str) -> None:
        if at == step and (since or on_the_way == way):
            if not since:
                os.kill(os.getpid(), signal.SIGTERM)
            since.append(on_the_way)
            time.sleep(0.3)

    with pytest.raises(StateSaved, match=f"SIGTERM: state saved at step {step} of 12") as stopped:
        run(Slow(work), tmp_path / "run")
    assert stopped.value.exit_code == 75
    assert since == [way] * (1 if patience == 0 else 2)
    assert len(rows(tmp_path / "run")) == step
    run(Slow(), tmp_path / "run")
    run(Slow(), tmp_path / "unbroken")
    assert_same_end(tmp_path / "run", tmp_path / "unbroken")


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Doubling(Line):
    """With a last layer that can be compiled."""

    def __init__(self, at_step: Callable[[int], None] = lambda step: None) -> None:
        super().__init__(at_step)
        self.network = self.model = nn.Sequential(*self.model, Doubled())


@pytest.mark.parametrize(("step", "saved"), [(0, 0), (6, 6), (-1, 5)])
def test_a_stop_does_not_wait_for_a_compiler(tmp_path: Path, step: int, saved: int) -> None:
    """Which may take a minute, and calls nothing of ours. (Step -1 is that of held-out loss.)"""
    begun: list[str] = []

    def compiler(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        if begun:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            raise AssertionError("it must have been left")
        return graph.forward

    def compile_again(at: int) -> None:
        if at == step:
            begun.append("compiling")
            torch.compiler.reset()

    compiled = Doubling(compile_again)
    compiled.model[-1].compile(backend=compiler)
    with pytest.raises(StateSaved, match=f"SIGTERM: state saved at step {saved} of 12"):
        run(compiled, tmp_path / "run")
    run(Doubling(), tmp_path / "run")
    run(Doubling(), tmp_path / "unbroken")
    assert_same_end(tmp_path / "run", tmp_path / "unbroken")


def test_max_hours_does_not_cut_the_first_step_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a limit that is shorter than a step would be met again and again, for nothing."""
    monkeypatch.setattr(loop_module, "PATIENCE_SECONDS", 0.0)
    for step in range(1, 4):
        with pytest.raises(StateSaved, match=rf"--max-hours 1e-09: state saved at step {step} of 12"):
            run(Slow(), tmp_path, replace(CONFIG, accumulate=2, max_hours=1e-9))
    stop = Stop(tmp_path, max_hours=1)

    def work(step: int, way: str) -> None:
        if step == 5:
            stop.deadline = 0.0

    (*_, found) = list_checkpoints(tmp_path)
    with pytest.raises(StateSaved, match="--max-hours 1: state saved at step 5 of 12"):
        run_loop(Slow(work), CONFIG, tmp_path, resume_from=found, report=Report(), describe={}, stop=stop)


def test_a_stop_does_not_wait_for_data(tmp_path: Path) -> None:
    hold = threading.Event()

    class Waiting(Line):
        def batch(self, step: int, part: slice = slice(None)) -> Tensor:
            if step == 6:
                os.kill(os.getpid(), signal.SIGTERM)
                hold.wait(60)
            return super().batch(step, part)

    with pytest.raises(StateSaved, match=r"SIGTERM: state saved at step [56] of 12"):
        run(Waiting(), tmp_path / "run")
    assert not hold.is_set()
    hold.set()
    run(Line(), tmp_path / "run")
    run(Line(), tmp_path / "unbroken")
    assert_same_end(tmp_path / "run", tmp_path / "unbroken")


def test_a_file_named_stop_ends_a_run_once(tmp_path: Path) -> None:
    stop = tmp_path / "run" / "stop"
    with pytest.raises(StateSaved, match=r"run/stop: state saved at step 4 of 12"):
        run(Line(lambda step: stop.touch() if step == 3 else None), tmp_path / "run")
    assert not stop.exists()
    run(Line(), tmp_path / "run")
    run(Line(), tmp_path / "unbroken")
    assert_same_end(tmp_path / "run", tmp_path / "unbroken")


def test_a_second_ctrl_c_ends_a_run_at_once(tmp_path: Path) -> None:
    def press(step: int) -> None:
        if step == 6:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(Line(press), tmp_path / "run")
    assert [c.name for c in list_checkpoints(tmp_path / "run")] == ["step-00000004"]
    run(Line(), tmp_path / "run")
    run(Line(), tmp_path / "unbroken")
    assert_same_end(tmp_path / "run", tmp_path / "unbroken")


def test_state_is_saved_soon_after_the_signal(tmp_path: Path) -> None:
    """From a long evaluation that polls, in less than the 10 s that a cluster may give."""

    class Slow(Line):
        def evaluate(self, poll: Callable[[], None]) -> dict[str, float]:
            for _ in range(600):
                poll()
                time.sleep(0.05)
            return super().evaluate(poll)

    def train() -> None:
        try:
            run(Slow(), tmp_path / "run")
        except (StateSaved, StopRequested):
            os._exit(75)

    process = FORK.Process(target=train)
    process.start()
    deadline = time.monotonic() + 60
    while not list_checkpoints(tmp_path / "run") and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # into the evaluation after step 5
    began = time.monotonic()
    process.terminate()
    process.join(30)
    assert process.exitcode == 75
    assert time.monotonic() - began < 10
    assert list_checkpoints(tmp_path / "run")[-1].name == "step-00000005"
