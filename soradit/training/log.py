"""log.txt: what a run said, with the time, for whoever wasn't there."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from soradit.errors import SoraditError, StateSaved
from soradit.report import Forwarding, Report
from soradit.text import visible

LOG = "log.txt"


def append_to_log(run: Path, text: str) -> None:
    """A line with the time, once the run has a folder; a disk that is full has worse to tell."""
    if run.is_dir():
        with suppress(OSError), open(run / LOG, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {visible(text)}\n")


@contextmanager
def errors_logged(run: Path, *, is_first: bool) -> Iterator[None]:
    """Leave an account of why a run ended early. That all processes were asked to stop, the first one writes."""
    try:
        yield
    except SoraditError as error:
        if is_first or not isinstance(error, StateSaved):
            append_to_log(run, str(error))
        raise


class Logged(Forwarding):
    """Passes on what it is told, and writes each note into ``run / log.txt``."""

    def __init__(self, report: Report, run: Path) -> None:
        super().__init__(report)
        self.run = run

    def note(self, text: str) -> None:
        append_to_log(self.run, text)
        super().note(text)
