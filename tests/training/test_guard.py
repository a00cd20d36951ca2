"""Guard rails: a bad step is not taken, its examples are named, and too many in a row are turned back from."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_loop import CONFIG, STEPS, Line, rows
from torch import Tensor

from soradit.errors import SoraditError
from soradit.report import Report
from soradit.training.checkpoint import list_checkpoints, read_state
from soradit.training.loop import run_loop

NAN, INF = float("nan"), float("inf")


class Notes(Report):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


class Spoilt(Line):
    """Its loss is multiplied by what ``spoil`` says of the step and of the learning rate's scale."""

    def __init__(self, spoil: Callable[[int], float]) -> None:
        super().__init__()
        self.spoil = spoil
        self.before: dict[int, dict[str, Tensor]] = {}

    def loss(self, batch: Tensor, step: int) -> Tensor:
        self.before[step] = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        return super().loss(batch, step) * self.spoil(step)


def start(objective: Line, folder: Path, **options: object) -> list[str]:
    notes = Notes()
    found = list_checkpoints(folder)
    config = replace(CONFIG, **options)
    run_loop(objective, config, folder, resume_from=found[-1] if found else None, report=notes, describe={})
    return notes.lines


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_bad_step_is_not_taken_and_its_clips_are_named(tmp_path: Path, bad: float) -> None:
    objective = Spoilt(lambda step: bad if step == 5 else 1.0)
    notes = start(objective, tmp_path)
    before, after = objective.before[5], objective.before[6]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(not torch.equal(after[name], objective.before[7][name]) for name in before)
    (note,) = [line for line in notes if "not taken" in line]
    assert note.startswith(f"step 6 not taken: loss {bad}")
    assert "its examples: 5-0.mp4, 5-1.mp4" in note
    assert len(rows(tmp_path)) == STEPS


@pytest.mark.parametrize("turned", [1, -1])
def test_a_step_whose_gradient_alone_is_not_finite_is_not_taken(tmp_path: Path, turned: int) -> None:
    class Steep(Spoilt):
        def loss(self, batch: Tensor, step: int) -> Tensor:
            loss, weight = super().loss(batch, step), self.model[0].weight
            return loss + turned * (weight - weight.detach()).sum().sqrt() if step == 5 else loss

    objective = Steep(lambda step: 1.0)
    (note,) = [line for line in start(objective, tmp_path) if "not taken" in line]
    before, after = objective.before[5], objective.before[6]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert math.isfinite(float(rows(tmp_path)[5]["loss"]))
    assert "gradient inf" in note or "gradient nan" in note


def test_a_run_turns_back_when_too_many_steps_are_bad(tmp_path: Path) -> None:
    """Diverges at steps 5 to 7 unless the learning rate was halved."""
    objective = Spoilt(lambda step: NAN if step in (5, 6, 7) and len(seen) < 3 else 1.0)
    seen: list[int] = []
    spoil = objective.spoil
    objective.spoil = lambda step: (bad := spoil(step), seen.append(step) if bad != 1 else None)[0]
    notes = start(objective, tmp_path)
    assert any("3 steps in a row, up to step 8, could not be taken" in line for line in notes)
    assert any("back to" in line and "step-00000004 with 0.5 times the learning rate" in line for line in notes)
    assert [row["step"] for row in rows(tmp_path)] == [str(step) for step in range(1, STEPS + 1)]
    assert all(row["loss"] != "nan" for row in rows(tmp_path))
    assert read_state(list_checkpoints(tmp_path)[-1])["rate_scale"] == 0.5
    rates = [float(row["learning_rate"]) for row in rows(tmp_path)]
    assert rates[4] < 0.6 * rates[3]


def test_a_halved_learning_rate_outlives_a_kill(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def spoil(step: int) -> float:
        if step not in (5, 6, 7):
            return 1.0
        if len(seen) == 3:
            raise Killed
        seen.append(step)
        return NAN

    seen: list[int] = []
    with pytest.raises(Killed):
        start(Spoilt(spoil), tmp_path)
    (checkpoint,) = list_checkpoints(tmp_path)
    assert (checkpoint.name, read_state(checkpoint)["rate_scale"]) == ("step-00000004", 0.5)


def test_a_run_turns_back_to_before_the_first_bad_step(tmp_path: Path) -> None:
    """A checkpoint would be due after steps 4 and 6, of weights that may be what is wrong."""
    seen: list[int] = []

    def spoil(step: int) -> float:
        if step not in (3, 4, 5) or len(seen) == 3:
            return 1.0
        seen.append(step)
        return NAN

    notes = start(Spoilt(spoil), tmp_path, checkpoint_every=2, keep_checkpoints=STEPS)
    (line,) = [line for line in notes if "back to" in line]
    assert "step-00000002 with 0.5 times the learning rate" in line
    assert [row["step"] for row in rows(tmp_path)] == [str(step) for step in range(1, STEPS + 1)]


def test_samples_and_snapshots_of_what_was_turned_back_from_are_gone(tmp_path: Path) -> None:
    later = [tmp_path / kind / "step-00000006" for kind in ("samples", "snapshots")]
    seen: list[int] = []

    def spoil(step: int) -> float:
        if step not in (5, 6, 7) or len(seen) == 3:
            return 1.0
        seen.append(step)
        for folder in later:
            folder.mkdir(parents=True, exist_ok=True)
        return NAN

    notes = start(Spoilt(spoil), tmp_path)
    assert any("back to" in line for line in notes)
    assert not any(folder.exists() for folder in later)


def test_a_run_that_diverges_whatever_its_rate_ends_with_a_report(tmp_path: Path) -> None:
    with pytest.raises(
        SoraditError, match=r"3 steps in a row.* 8 times smaller: try a smaller --lr, and soradit check"
    ):
        start(Spoilt(lambda step: NAN if step > 4 else 1.0), tmp_path)
    assert "5-0.mp4" in (tmp_path / "report.html").read_text() or "nan" in (tmp_path / "metrics.csv").read_text()
    assert [c.name for c in list_checkpoints(tmp_path)] == ["step-00000004"]


def test_a_run_without_a_checkpoint_to_go_back_to_ends(tmp_path: Path) -> None:
    with pytest.raises(
        SoraditError, match=r"3 steps in a row, up to step 3, could not be taken .loss nan.*\): try a smaller --lr"
    ):
        start(Spoilt(lambda step: NAN), tmp_path)


def test_out_of_memory_says_what_to_do(tmp_path: Path) -> None:
    class Huge(Line):
        def loss(self, batch: Tensor, step: int) -> Tensor:
            return torch.empty(2**58).mean() if step == 2 else super().loss(batch, step)

    with pytest.raises(SoraditError, match=r"^out of memory \(1152921504606846976 bytes were asked for\): use"):
        start(Huge(), tmp_path)


def test_other_runtime_errors_are_not_mistaken_for_memory(tmp_path: Path) -> None:
    class Broken(Line):
        def loss(self, batch: Tensor, step: int) -> Tensor:
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        start(Broken(), tmp_path)
