"""What a task tells whoever started it, without knowing whether a terminal is listening."""

from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """A piece of work with a known end; nobody is listening to this one."""

    def update(self, done: int, text: str = "") -> None:
        """``done`` units are behind us; ``text`` says how it goes."""


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
