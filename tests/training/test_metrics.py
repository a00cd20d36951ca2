"""metrics.csv: a row a step, and no row twice after a resume."""

from pathlib import Path

import pytest

from soradit.training.metrics import Metrics, read_metrics


def test_rows_are_read_back(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "run" / "metrics.csv", 0)
    metrics.write(1, {"loss": 0.5, "gradient_norm": 1.0})
    metrics.write(2, {"loss": 0.25, "held_out_loss": 0.75, "held_out_psnr": 30.0})
    first, second = read_metrics(tmp_path / "run" / "metrics.csv")
    assert (first["step"], first["loss"], first["held_out_loss"], first["held_out_psnr"]) == ("1", "0.5", "", "")
    assert (second["step"], second["held_out_loss"], second["held_out_psnr"]) == ("2", "0.75", "30.0")


def test_a_resumed_run_drops_later_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    before = Metrics(path, 0)
    for step in range(1, 6):
        before.write(step, {"loss": float(step), **({"held_out_loss": 9.0} if step == 2 else {})})
    after = Metrics(path, 3)
    assert [row["step"] for row in read_metrics(path)] == ["1", "2", "3"]
    after.write(4, {"loss": 40.0})
    assert [row["loss"] for row in read_metrics(path)] == ["1.0", "2.0", "3.0", "40.0"]
    assert after.rows[1] == {"step": 2.0, "loss": 2.0, "held_out_loss": 9.0}


def test_figures_can_be_added_to_the_last_row(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.csv", 0)
    metrics.write(1, {"loss": 0.5})
    metrics.write(2, {"loss": 0.25})
    metrics.amend(2, {"held_out_loss": 0.75, "held_out_psnr": 30.0})
    first, second = read_metrics(tmp_path / "metrics.csv")
    assert (first["held_out_loss"], second["held_out_loss"], second["held_out_psnr"]) == ("", "0.75", "30.0")


def test_figures_of_a_step_without_a_row_get_one(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.csv", 2)
    assert not metrics.has_row(2)
    metrics.amend(2, {"held_out_loss": 0.75})
    assert metrics.has_row(2)
    (row,) = read_metrics(tmp_path / "metrics.csv")
    assert (row["step"], row["loss"], row["held_out_loss"]) == ("2", "", "0.75")


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_last_line_that_was_cut_short_is_left_out(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "metrics.csv"
    before = Metrics(path, 0)
    for step in (8, 12, 123):
        before.write(step, {"loss": 0.5})
    path.write_bytes(path.read_bytes()[:-cut])
    Metrics(path, 200)
    assert [row["step"] for row in read_metrics(path)] == ["8", "12"]


def test_no_file_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.csv") == []
