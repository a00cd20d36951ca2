"""log.txt: what a run said, with the time, for whoever wasn't there."""

from datetime import datetime
from pathlib import Path

from soradit.report import Forwarding, Report
from soradit.text import visible

LOG = "log.txt"


def append_to_log(run: Path, text: str) -> None:
    """A line with the time, once the run has a folder."""
    if run.is_dir():
        with open(run / LOG, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {visible(text)}\n")


class Logged(Forwarding):
    """Passes on what it is told, and writes each note into ``run / log.txt``."""

    def __init__(self, report: Report, run: Path) -> None:
        super().__init__(report)
        self.run = run

    def note(self, text: str) -> None:
        super().note(text)
        append_to_log(self.run, text)
