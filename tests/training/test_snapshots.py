"""Averages of any length, made after training, are those that tracking would have given."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from soradit import files
from soradit.errors import SoraditError, StateSaved
from soradit.report import Report
from soradit.training.checkpoint import list_checkpoints
from soradit.training.config import LoopConfig
from soradit.training.loop import run_loop
from soradit.training.randomness import generator
from soradit.training.snapshots import (
    LENGTHS,
    Snapshot,
    decay,
    list_snapshots,
    mixed,
    mixture,
    profile,
    save_snapshots,
)
from soradit.training.steps import drop_later

CONFIG = LoopConfig(steps=60, batch_size=4, learning_rate=0.03, warmup_steps=1, snapshots=6, checkpoint_every=7)


class Line:
    """Fits y = W x, and remembers its weights after each step."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network = self.model = nn.Linear(3, 2)
        self.after: list[dict[str, Tensor]] = []

    def batch(self, step: int, part: slice) -> Tensor:
        return torch.randn(CONFIG.batch_size, 3, generator=generator(0, step))[part]

    def examples(self, step: int) -> list[str]:
        return []

    def loss(self, batch: Tensor, step: int) -> Tensor:
        if step > 0:
            self.remember()
        return (self.model(batch) - batch[:, :2]).square().mean()

    def remember(self) -> None:
        self.after.append({name: parameter.detach().clone() for name, parameter in self.model.named_parameters()})

    def evaluate(self, poll: Callable[[], None]) -> dict[str, float]:
        return {"held_out_loss": 0.0}

    def publish(self, run: Path, tensors: dict[str, Tensor]) -> None:
        pass


def train(folder: Path, config: LoopConfig = CONFIG) -> Line:
    objective, found = Line(), list_checkpoints(folder)
    run_loop(objective, config, folder, resume_from=found[-1] if found else None, report=Report(), describe={})
    objective.remember()
    return objective


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Line]:
    folder = tmp_path_factory.mktemp("run")
    return folder, train(folder)


def directly(line: Line, step: int, length: float, name: str = "weight") -> Tensor:
    """Tracked step by step, as the training loop would."""
    average = line.after[0][name].double()
    for now, weights in enumerate(line.after[:step], 1):
        average = average.lerp(weights[name].double(), 1 - decay(now, length))
    return average


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.25])
def test_a_length_is_a_standard_deviation_relative_to_the_training(length: float) -> None:
    weights = profile(4000, length, 5000)
    steps = np.arange(1, 5001)
    assert weights.sum() == pytest.approx(1)
    mean = (weights * steps).sum()
    assert np.sqrt((weights * (steps - mean) ** 2).sum()) / 4000 == pytest.approx(length, rel=0.01)


@pytest.mark.parametrize("length", [0.03, 0.05, 0.2])
def test_the_profile_is_what_tracking_does(trained: tuple[Path, Line], length: float) -> None:
    _, line = trained
    shares = profile(50, length, CONFIG.steps)
    summed = sum(share * weights["weight"].double() for share, weights in zip(shares, line.after, strict=True))
    torch.testing.assert_close(summed, directly(line, 50, length))


@pytest.mark.parametrize("length", LENGTHS)
def test_a_tracked_average_is_found_again(trained: tuple[Path, Line], length: float) -> None:
    folder, line = trained
    snapshots = list_snapshots(folder)
    assert len(snapshots) == CONFIG.snapshots * len(LENGTHS)
    shares, lacking = mixture(snapshots, length)
    assert lacking < 1e-9
    torch.testing.assert_close(
        mixed(snapshots, shares)["weight"].double(), directly(line, CONFIG.steps, length), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(("step", "length"), [(60, 0.07), (60, 0.13), (40, 0.15)])
def test_another_average_is_met_closely(trained: tuple[Path, Line], step: int, length: float) -> None:
    folder, line = trained
    snapshots = [snapshot for snapshot in list_snapshots(folder) if snapshot.step <= step]
    shares, lacking = mixture(snapshots, length)
    assert shares.sum() == pytest.approx(1)
    assert 0 < lacking < 0.1
    wanted, plain = directly(line, step, length), directly(line, step, 0.05)
    off = (mixed(snapshots, shares)["weight"].double() - wanted).norm()
    assert off < 0.3 * (plain - wanted).norm()


def test_more_snapshots_meet_it_better() -> None:
    def lacking(count: int) -> float:
        steps = [800 * (i + 1) // count for i in range(count)]
        snapshots = [Snapshot(path=Path(), step=step, length=length) for step in steps for length in LENGTHS]
        return mixture(snapshots, 0.15)[1]

    assert lacking(16) < lacking(8) / 2 < lacking(4) / 4


@pytest.mark.parametrize("length", [0.0, 0.3, float("nan")])
def test_a_length_out_of_reach_is_refused(length: float) -> None:
    with pytest.raises(SoraditError, match=r"out of reach: use one from 0.01 to 0.25"):
        mixture([Snapshot(path=Path(), step=5, length=0.05)], length)


def test_a_stopped_run_has_the_snapshots_of_an_unbroken_one(trained: tuple[Path, Line], tmp_path: Path) -> None:
    folder, _ = trained
    for _ in range(12):
        with pytest.raises(StateSaved):
            train(tmp_path, replace(CONFIG, max_hours=1e-9))
    train(tmp_path)
    for snapshot in list_snapshots(folder):
        assert (tmp_path / snapshot.path.relative_to(folder)).read_bytes() == snapshot.path.read_bytes()
    assert {p.name for p in list_checkpoints(folder)[-1].iterdir()} >= {"ema-0.05.safetensors", "ema-0.1.safetensors"}
    drop_later(tmp_path / "snapshots", 30)
    assert {snapshot.step for snapshot in list_snapshots(tmp_path)} == {10, 20, 30}


def test_without_snapshots_nothing_is_tracked(tmp_path: Path) -> None:
    train(tmp_path, replace(CONFIG, snapshots=0, steps=3))
    assert not list_snapshots(tmp_path)
    assert {p.stem for p in list_checkpoints(tmp_path)[-1].iterdir()} == {"model", "ema", "optimizer", "state"}


def test_a_snapshot_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[Path, bool]] = []
    target = tmp_path / "snapshots" / "step-00000005"
    monkeypatch.setattr(files, "_sync", lambda path: synced.append((path, target.exists())))
    save_snapshots(tmp_path, 5, {length: {"w": torch.ones(2)} for length in LENGTHS})
    temporary = target.with_name(f".{target.name}.tmp")
    whole = [(temporary / f"{length}.safetensors", False) for length in LENGTHS]
    assert sorted(synced[:-2]) == sorted(whole)
    assert synced[-2:] == [(temporary, False), (target.parent, True)]
