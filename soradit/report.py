"""What a task tells whoever started it, without knowing whether a terminal is listening."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class Progress:
    """A piece of work with a known end; nobody is listening to this one."""

    shows = False
    """Whether ``show`` is worth calling."""

    def update(self, done: int, text: str = "") -> None:
        """``done`` units are behind us; ``text`` says how it goes."""

    def show(self, frame: "np.ndarray") -> None:
        """A picture of how it goes, uint8 RGB (H, W, 3)."""


class Report:
    """Nobody is listening. ``soradit.console.Terminal`` is somebody."""

    def note(self, text: str) -> None:
        """One line worth reading."""

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        yield Progress()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens inside takes time and memory, which may be worth knowing."""
        yield


class Forwarding(Report):
    """Passes on what it is told; subclasses override what they do otherwise."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def note(self, text: str) -> None:
        self.report.note(text)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        with self.report.progress(what, total) as progress:
            yield progress

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        with self.report.phase(name):
            yield
