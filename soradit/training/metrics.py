"""metrics.csv: a row a step, with held-out figures where there are any."""

import csv
import os
from pathlib import Path


class Metrics:
    """Appends rows to a CSV file; a resumed run first drops the rows after its checkpoint."""

    FIRST_COLUMNS = ("step", "loss", "gradient_norm", "learning_rate", "seconds", "held_out_loss")

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [row for row in read_metrics(path) if int(row["step"]) <= step]
        self.columns = list(rows[0]) if rows else list(self.FIRST_COLUMNS)
        self._rewrite(rows)
        self._average: float | None = None
        self._held_out = next((row["held_out_loss"] for row in reversed(rows) if row["held_out_loss"]), "")

    @property
    def summary(self) -> str:
        """The running loss and the newest held-out loss, in words."""
        held_out = f", held-out {float(self._held_out):.4f}" if self._held_out else ""
        return f"loss {self._average:.4f}{held_out}" if self._average is not None else ""

    def write(self, step: int, row: dict[str, float]) -> None:
        loss = row["loss"]
        self._average = loss if self._average is None else 0.9 * self._average + 0.1 * loss
        if "held_out_loss" in row:
            self._held_out = str(row["held_out_loss"])
        if new := [name for name in row if name not in self.columns]:
            self.columns += new
            self._rewrite(read_metrics(self.path))
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow({"step": step, **row})

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        with open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(temporary, self.path)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv; none when there is no such file."""
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
