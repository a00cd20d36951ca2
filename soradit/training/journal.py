"""What a run tells while it goes on: metrics.csv, TensorBoard files, report.html, and words for a terminal."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from soradit.report import Report
from soradit.training.metrics import Metrics, Row
from soradit.training.page import Story, write_page

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

READ_INTERVAL_SECONDS = 1.0
"""Figures stay on the device, which need not be waited for, until this long after the last ones were read."""
PAGE_INTERVAL_SECONDS = 60.0
BOARD_FOLDER = "tensorboard"


class Journal:
    """Takes the figures of each step; writes them to all places. Several processes: only the first one's writes."""

    def __init__(
        self,
        run: Path,
        step: int,
        *,
        batch_size: int,
        story: Story | None = None,
        began: float | None = None,
        report: Report | None = None,
        writes: bool = True,
    ) -> None:
        """Rows after ``step`` are dropped; ``began`` is when the command did, on the monotonic clock."""
        self.report, self.began = report or Report(), began
        self.run, self.batch_size, self.writes = run, batch_size, writes
        self.story = story or Story()
        self.metrics = Metrics(run / "metrics.csv", step, writes=writes)
        self._board = _board(run, step) if writes else None
        self._pending: list[tuple[int, dict[str, float | Tensor]]] = []
        self._loss: float | None = None
        self._seconds: float | None = None
        self._page_time = -PAGE_INTERVAL_SECONDS
        self.start_clock()

    @property
    def rows(self) -> list[Row]:
        return self.metrics.rows

    @property
    def summary(self) -> str:
        """The running loss, the newest held-out loss, and the pace."""
        held_out = next((row["held_out_loss"] for row in reversed(self.rows) if "held_out_loss" in row), None)
        words = [
            f"loss {self._loss:.4f}" if self._loss is not None else "",
            f"held-out {held_out:.4f}" if held_out is not None else "",
            f"{self.batch_size / self._seconds:.3g} clips/s" if self._seconds is not None else "",
        ]
        return ", ".join(filter(None, words))

    def start_clock(self) -> None:
        """What follows is training, and no figure is waiting: seconds a step are counted from here."""
        self._clock, self._processor_clock = time.perf_counter(), time.process_time()

    def add(self, step: int, figures: dict[str, float | Tensor]) -> None:
        """A step's figures, which may be on a device still."""
        if self.began is not None:
            self.report.note(f"first step after {time.monotonic() - self.began:.1f} s")
            self.began = None
        self._pending.append((step, figures))

    @property
    def is_time(self) -> bool:
        """Whether pending figures should be read from the device and written."""
        return time.perf_counter() - self._clock >= READ_INTERVAL_SECONDS

    def flush(self) -> list[Row]:
        """Read and write what has come since the last time. Returns the new rows."""
        if not self._pending:
            return []
        read = [(step, {name: float(x) for name, x in figures.items()}) for step, figures in self._pending]
        seconds = (time.perf_counter() - self._clock) / len(read)
        processor_seconds = (time.process_time() - self._processor_clock) / len(read)
        self._pending = []
        for step, figures in read:
            self.metrics.write(step, figures | {"seconds": seconds, "processor_seconds": processor_seconds})
            self._put_on_board(step, figures | {"clips_per_second": self.batch_size / seconds})
            if math.isfinite(figures["loss"]):
                self._loss = _running(self._loss, figures["loss"])
            self._seconds = _running(self._seconds, seconds)
        if time.monotonic() - self._page_time > PAGE_INTERVAL_SECONDS:
            self.write_page()
        self.start_clock()
        return self.rows[-len(read) :]

    def is_evaluated(self, step: int) -> bool:
        """Whether the newest step, ``step``, has held-out figures."""
        return self.metrics.has_row(step) and "held_out_loss" in self.rows[-1]

    def amend(self, step: int, figures: Row) -> None:
        """Held-out figures of the newest step, ``step``."""
        self.metrics.amend(step, figures)
        self._put_on_board(step, figures)
        self.write_page()

    def rewind(self, step: int) -> None:
        """Forget what came after ``step``."""
        self._pending = []
        self.metrics.rewind(step)
        if self._board:
            self._board.close()
            self._board = _board(self.run, step)

    def sync(self) -> None:
        """What is written survives a power cut."""
        if self.writes:
            self.metrics.sync()
            self.write_page()

    def close(self) -> None:
        """Nothing more is coming: write what there is."""
        self.flush()
        self.write_page()
        if self._board:
            self._board.close()

    def write_page(self) -> None:
        if self.writes:
            write_page(self.run, self.rows, self.story, batch_size=self.batch_size)
            self._page_time = time.monotonic()

    def _put_on_board(self, step: int, figures: Row | dict[str, float]) -> None:
        if self._board:
            for name, value in figures.items():
                if math.isfinite(value):
                    self._board.add_scalar(name, value, step)


def _running(average: float | None, new: float) -> float:
    return new if average is None else 0.9 * average + 0.1 * new


def _board(run: Path, step: int) -> "SummaryWriter":
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(run / BOARD_FOLDER), purge_step=step + 1)
