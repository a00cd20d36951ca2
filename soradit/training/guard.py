"""Guard rails: what happens when a loss or a gradient is not a finite number, or memory runs out."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from soradit.device import is_out_of_memory
from soradit.errors import SoraditError, first_line
from soradit.report import Report
from soradit.training.metrics import Row

MAX_IN_A_ROW = 3
"""Steps that could not be taken, after which a run goes back to its last checkpoint."""
MAX_RETURNS = 3
"""Each halves the learning rate; the next one ends the run."""
MAX_NAMED = 8


class Diverged(Exception):
    """Too many steps in a row could not be taken; its text says which."""


class Guard:
    """Sees every row of the metrics, names the examples of a step that was not taken, and says when it is enough."""

    def __init__(self, examples_of: Callable[[int], list[str]], report: Report) -> None:
        """``examples_of(step)`` names what a step's batch is drawn from."""
        self.examples_of, self.report = examples_of, report
        self.in_a_row = 0

    def see(self, row: Row) -> None:
        """Raises Diverged when ``row`` is one too many."""
        if is_finite(row):
            self.in_a_row = 0
            return
        self.in_a_row += 1
        step = int(row["step"])
        names = self.examples_of(step - 1)
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        what = f"loss {row['loss']}, gradient {row['gradient_norm']}"
        self.report.note(f"step {step} not taken: {what}; its examples: {', '.join(names[:MAX_NAMED])}{more}")
        if self.in_a_row >= MAX_IN_A_ROW:
            raise Diverged(f"{self.in_a_row} steps in a row, up to step {step}, could not be taken ({what})")


def is_finite(row: Row) -> bool:
    return math.isfinite(row["loss"]) and math.isfinite(row["gradient_norm"])


@contextmanager
def memory_guard(advice: Callable[[], str]) -> Iterator[None]:
    """Turn running out of memory, of either kind of device, into a SoraditError that ends in ``advice``."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # torch says more, on many lines
        asked = re.search(r"tried to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
        why = f"{asked[1]} were asked for" if asked else first_line(error)
        raise SoraditError(f"out of memory ({why}): {advice()}") from error
