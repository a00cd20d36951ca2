"""metrics.csv: a row a step, and no row twice after a resume."""

from pathlib import Path

from soradit.training.metrics import Metrics, read_metrics


def test_rows_are_read_back(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "run" / "metrics.csv", 0)
    metrics.write(1, {"loss": 0.5, "gradient_norm": 1.0})
    metrics.write(2, {"loss": 0.25, "held_out_loss": 0.75, "held_out_psnr": 30.0})
    first, second = read_metrics(tmp_path / "run" / "metrics.csv")
    assert (first["step"], first["loss"], first["held_out_loss"], first["held_out_psnr"]) == ("1", "0.5", "", "")
    assert (second["step"], second["held_out_loss"], second["held_out_psnr"]) == ("2", "0.75", "30.0")
    assert metrics.summary == "loss 0.4750, held-out 0.7500"


def test_a_resumed_run_drops_later_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    before = Metrics(path, 0)
    for step in range(1, 6):
        before.write(step, {"loss": float(step), **({"held_out_loss": 9.0} if step == 2 else {})})
    after = Metrics(path, 3)
    assert [row["step"] for row in read_metrics(path)] == ["1", "2", "3"]
    after.write(4, {"loss": 40.0})
    assert [row["loss"] for row in read_metrics(path)] == ["1.0", "2.0", "3.0", "40.0"]
    assert after.summary == "loss 40.0000, held-out 9.0000"


def test_no_file_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.csv") == []
