"""The loop: exact resume, checkpoints that appear whole, a schedule with known ends, no update from a bad loss."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from soradit.errors import SoraditError, StateSaved
from soradit.report import Report
from soradit.training import checkpoint as checkpoint_module
from soradit.training.base import usual_learning_rate
from soradit.training.checkpoint import list_checkpoints, read_state
from soradit.training.config import LoopConfig, TrainConfig
from soradit.training.loop import run_loop
from soradit.training.metrics import read_metrics
from soradit.training.randomness import generator
from soradit.training.state import TrainState, learning_rate

STEPS = 12
CONFIG = LoopConfig(steps=STEPS, batch_size=8, learning_rate=0.02, warmup_steps=1, evaluate_every=5, checkpoint_every=4)


class Line:
    """Fits y = W x with a little network; calls ``at_step`` on the way."""

    def __init__(self, at_step: Callable[[int], None] = lambda step: None) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
        self.network = self.model
        self.at_step = at_step
        self.published: dict[str, Tensor] = {}

    def batch(self, step: int, part: slice = slice(None)) -> Tensor:
        return torch.randn(CONFIG.batch_size, 3, generator=generator(0, step))[part]

    def examples(self, step: int) -> list[str]:
        return [f"{step}-{i}.mp4" for i in range(CONFIG.batch_size)]

    def loss(self, batch: Tensor, step: int) -> Tensor:
        self.at_step(step)
        return (self.model(batch) - batch[:, :2]).square().mean()

    def evaluate(self, poll: Callable[[], None]) -> dict[str, float]:
        return {"held_out_loss": self.loss(self.batch(-1), -1).item()}

    def publish(self, run: Path, tensors: dict[str, Tensor]) -> None:
        self.published = {name: tensor.clone() for name, tensor in tensors.items()}


def run(objective: Line, folder: Path, config: LoopConfig = CONFIG) -> Line:
    """Go on from the newest checkpoint, as ``--resume auto`` does."""
    found = list_checkpoints(folder)
    run_loop(objective, config, folder, resume_from=found[-1] if found else None, report=Report(), describe={"a": 1})
    return objective


def rows(folder: Path) -> list[dict[str, str]]:
    timing = dict.fromkeys(("seconds", "processor_seconds", "waited_seconds"), "")
    return [row | timing for row in read_metrics(folder / "metrics.csv")]


def assert_same_end(folder: Path, other: Path) -> None:
    first, second = (list_checkpoints(f)[-1] for f in (folder, other))
    assert first.name == second.name
    for file in ("model.safetensors", "ema.safetensors", "optimizer.safetensors"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    assert rows(folder) == rows(other)


@pytest.fixture
def unbroken(tmp_path: Path) -> Path:
    folder = tmp_path / "unbroken"
    run(Line(), folder)
    return folder


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
@pytest.mark.parametrize("step", [0, 6])
def test_run_stopped_by_a_signal_and_resumed_equals_an_unbroken_one(
    tmp_path: Path, unbroken: Path, name: str, step: int
) -> None:
    def stop(current: int) -> None:
        if current == step:
            os.kill(os.getpid(), getattr(signal, name))

    with pytest.raises(
        StateSaved, match=f"{name}: state saved at step {step + 1} of {STEPS} in .*run again"
    ) as stopped:
        run(Line(stop), tmp_path / "run")
    assert stopped.value.exit_code == 75
    assert len(rows(tmp_path / "run")) == step + 1
    run(Line(), tmp_path / "run")
    assert_same_end(tmp_path / "run", unbroken)


def test_run_stopped_every_step_by_max_hours_equals_an_unbroken_one(tmp_path: Path, unbroken: Path) -> None:
    hurried = replace(CONFIG, max_hours=1e-9)
    for step in range(1, STEPS):
        with pytest.raises(StateSaved, match=f"max-hours 1e-09: state saved at step {step} of {STEPS}"):
            run(Line(), tmp_path / "run", hurried)
    run(Line(), tmp_path / "run", hurried)  # the last step ends the run: nothing is left to go on with
    assert_same_end(tmp_path / "run", unbroken)


def test_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path, unbroken: Path) -> None:
    def die(step: int) -> None:
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Line(die), tmp_path / "run")
    assert len(rows(tmp_path / "run")) == 6
    assert [c.name for c in list_checkpoints(tmp_path / "run")] == ["step-00000004"]
    run(Line(), tmp_path / "run")
    assert_same_end(tmp_path / "run", unbroken)


def test_finished_run_is_left_as_it_is(unbroken: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (unbroken / "checkpoints").rglob("*")}
    run(Line(), unbroken)
    assert before == {path: path.stat().st_mtime_ns for path in (unbroken / "checkpoints").rglob("*")}


def test_finished_run_can_be_lengthened(unbroken: Path) -> None:
    run(Line(), unbroken, replace(CONFIG, steps=15))
    assert [row["step"] for row in rows(unbroken)] == [str(step) for step in range(1, 16)]


def test_newest_checkpoints_are_kept(unbroken: Path) -> None:
    assert [c.name for c in list_checkpoints(unbroken)] == ["step-00000008", "step-00000012"]
    assert read_state(list_checkpoints(unbroken)[-1]) == {"step": 12, "rate_scale": 1.0, "a": 1}


def test_the_average_is_published(tmp_path: Path) -> None:
    objective = run(Line(), tmp_path)
    ema = load_file(list_checkpoints(tmp_path)[-1] / "ema.safetensors")
    assert all(torch.equal(ema[name], tensor) for name, tensor in objective.published.items())
    assert any(not torch.equal(ema[name], tensor) for name, tensor in objective.model.state_dict().items())


def test_the_average_is_short_at_first_and_as_long_as_asked_for_later() -> None:
    config = replace(CONFIG, ema_decay=0.5)
    state = TrainState.begin(nn.Linear(1, 1, bias=False), config)
    (name,) = state.ema
    for step in range(STEPS):
        before = state.ema[name].clone()
        state.model.weight.grad = torch.ones(1, 1)
        state.apply_gradients(torch.zeros(()), config)
        kept = min(0.5, (1 + step) / (10 + step))
        torch.testing.assert_close(state.ema[name], kept * before + (1 - kept) * state.model.weight.detach())


def test_failed_save_leaves_the_old_checkpoint_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file = checkpoint_module.save_file

    def disk_full(tensors: dict[str, Tensor], path: Path) -> None:
        if path.name == "optimizer.safetensors" and "00000008" in str(path):
            path.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr(checkpoint_module, "save_file", disk_full)
    with pytest.raises(SoraditError, match=r"can't save .*step-00000008: .*No space left on device"):
        run(Line(), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000004"]
    monkeypatch.undo()
    run(Line(), tmp_path / "run")
    run(Line(), tmp_path / "unbroken")
    assert_same_end(tmp_path / "run", tmp_path / "unbroken")


@pytest.mark.parametrize("file", ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b"[]"), lambda path: os.truncate(path, 9)]
)
def test_damaged_checkpoint_is_named(unbroken: Path, file: str, damage: Callable[[Path], None]) -> None:
    newest = list_checkpoints(unbroken)[-1]
    damage(newest / file)
    with pytest.raises(SoraditError, match=newest.name) as error:
        run(Line(), unbroken)
    assert "\n" not in str(error.value)


def test_failing_batch_ends_the_run(tmp_path: Path) -> None:
    objective = Line()
    batch = objective.batch

    def fail(step: int, part: slice) -> Tensor:
        if step == 2:
            raise SoraditError("no such clip")
        return batch(step, part)

    objective.batch = fail  # type: ignore[method-assign]
    with pytest.raises(SoraditError, match="no such clip"):
        run(objective, tmp_path)


def test_loss_falls(tmp_path: Path) -> None:
    run(Line(), tmp_path, replace(CONFIG, steps=150, checkpoint_every=1000))
    losses = [float(row["loss"]) for row in rows(tmp_path)]
    held_out = [float(row["held_out_loss"]) for row in rows(tmp_path) if row["held_out_loss"]]
    assert sum(losses[-10:]) < 0.1 * sum(losses[:10])
    assert held_out[-1] < 0.1 * held_out[0]


def test_learning_rate_rises_then_falls_to_nothing() -> None:
    config = LoopConfig(steps=1000, batch_size=1, learning_rate=0.5, warmup_steps=50)
    rates = [learning_rate(step, config) for step in range(1001)]
    assert rates[0] == pytest.approx(0.5 / 50)
    assert max(rates) == pytest.approx(0.5, rel=0.01)
    assert rates.index(max(rates)) == 49
    assert rates[500] == pytest.approx(0.25)
    assert rates[1000] == pytest.approx(0, abs=1e-9)
    assert all(later < earlier for earlier, later in pairwise(rates[49:]))


def test_warm_up_is_at_most_a_tenth() -> None:
    assert learning_rate(1, LoopConfig(steps=20, batch_size=1, learning_rate=1.0, warmup_steps=100)) > 0.9


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("steps", 0, "--steps must be above 0"),
        ("batch_size", 0, "--batch-size must be above 0"),
        ("learning_rate", 0, "--lr must be above 0"),
        ("checkpoint_every", 0, "--checkpoint-every must be above 0"),
        ("keep_checkpoints", 1, "--keep must be 2 or more"),
        ("max_hours", 0, "--max-hours must be above 0"),
    ],
)
def test_bad_settings_are_named_as_they_are_given(name: str, value: int, complaint: str) -> None:
    with pytest.raises(SoraditError, match=f"{complaint}, not {value}"):
        replace(CONFIG, **{name: value})


def test_seconds_are_those_that_steps_took(tmp_path: Path) -> None:
    """Evaluations and checkpoints are not in them; waiting for data is."""

    class Slow(Line):
        def evaluate(self, poll: Callable[[], None]) -> dict[str, float]:
            time.sleep(0.3)
            return super().evaluate(poll)

    run(Slow(lambda step: time.sleep(0.03)), tmp_path, replace(CONFIG, evaluate_every=2))
    seconds = [float(row["seconds"]) for row in read_metrics(tmp_path / "metrics.csv")]
    assert all(0.03 <= each < 0.3 for each in seconds)


def test_loop_runs_outside_the_main_thread(tmp_path: Path) -> None:
    thread = threading.Thread(target=run, args=(Line(), tmp_path))
    thread.start()
    thread.join(60)
    assert len(rows(tmp_path)) == STEPS


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ({}, 5e-4),
        ({"process": "flow"}, 5e-4),
        ({"process": "noise"}, 1e-3),
        ({"weights": "nowhere"}, 5e-4),
        ({"lora": 8}, 1e-3),
        ({"preset": "tiny"}, 1e-3),
        ({"fresh": True}, 1e-3),
        ({"component": "vae", "fresh": True}, 4e-5),
        ({"component": "decoder"}, 2e-4),
    ],
)
def test_the_usual_learning_rate_is_of_what_is_trained_and_from_what(options: dict, rate: float) -> None:
    assert usual_learning_rate(TrainConfig(data=Path("clips"), run=Path("run"), **options)) == rate
