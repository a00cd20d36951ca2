"""metrics.csv: a row a step, with held-out figures where there are any."""

import csv
import io
import os
from pathlib import Path

from soradit.files import write_whole

Row = dict[str, float]


class Metrics:
    """Appends rows to a CSV file; a resumed run first drops the rows after its checkpoint."""

    FIRST_COLUMNS = (
        "step",
        "loss",
        "gradient_norm",
        "learning_rate",
        "seconds",
        "processor_seconds",
        "waited_seconds",
        "held_out_loss",
    )

    def __init__(self, path: Path, step: int, *, writes: bool = True) -> None:
        """Without ``writes`` the rows are kept in memory, for another process writes them."""
        self.path, self.writes = path, writes
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[Row] = [
            {name: float(value) for name, value in row.items() if value} for row in read_metrics(path)
        ]
        self.rewind(step)

    def rewind(self, step: int) -> None:
        """Forget what came after ``step``."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        self._rewrite()

    def write(self, step: int, figures: Row) -> None:
        row = {"step": step, **figures}
        self.rows.append(row)
        if not row.keys() <= set(self.columns):
            self._rewrite()
        elif self.writes:
            with open(self.path, "a", newline="") as file:
                file.write(self._line(row))

    def amend(self, step: int, figures: Row) -> None:
        """Add ``figures`` to the row of ``step``: the last one, or one that isn't there yet."""
        if not self.has_row(step):
            self.rows.append({"step": step})
        self.rows[-1] |= figures
        self._rewrite()

    def has_row(self, step: int) -> bool:
        """Whether the last row is of that step; a run that goes on from elsewhere has none at first."""
        return bool(self.rows) and self.rows[-1]["step"] == step

    def sync(self) -> None:
        """What is written survives a power cut."""
        with open(self.path) as file:
            os.fsync(file.fileno())

    def _rewrite(self) -> None:
        self.columns = list(dict.fromkeys([*self.FIRST_COLUMNS, *(name for row in self.rows for name in row)]))
        if not self.writes:
            return
        write_whole(self.path, ",".join(self.columns) + "\r\n" + "".join(map(self._line, self.rows)))

    def _line(self, row: Row) -> str:
        line = io.StringIO()
        csv.DictWriter(line, self.columns).writerow(row | {"step": int(row["step"])})
        return line.getvalue()


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv; none when there is no such file. A last line that was cut short is left out."""
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        lines = file.read().splitlines(keepends=True)
    return list(csv.DictReader(line for line in lines if line.endswith("\n")))
