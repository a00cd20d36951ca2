"""What a person sees. Everything here goes to stderr; stdout carries data only."""

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from soradit.report import Progress, Report
from soradit.text import visible

if TYPE_CHECKING:
    import numpy as np
    from rich.text import Text

PLAIN_INTERVAL_SECONDS = 10.0
"""Off a terminal, a line of progress at most this often."""


class Terminal(Report):
    """Notes as lines; progress as one live line on a terminal, as plain lines every few seconds elsewhere.

    ``verbose`` adds what each phase took; ``preview`` shows pictures, on a terminal.
    """

    def __init__(self, *, verbose: bool = False, preview: bool = False) -> None:
        self.verbose, self.preview = verbose, preview

    def note(self, text: str) -> None:
        write_line(text)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        bar = _LiveLine(what, total, shows=self.preview) if _can_redraw() else _PlainLines(what, total)
        try:
            yield bar
        finally:
            bar.close()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        if self.verbose:
            write_line(f"{name}: {time.monotonic() - started:.2f} s, {_memory()}")


def _can_redraw() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class TerminalOfRows(Terminal):
    """For a command whose rows, on stdout, are progress enough where they are seen, and would break a live line."""

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        if sys.stdout.isatty():
            yield Progress()
        else:
            with super().progress(what, total) as bar:
                yield bar


class _PlainLines(Progress):
    """``training 120/2000, loss 0.71, 3.2 s each, 1:40:16 left``"""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total
        self.first: int | None = None
        self.started = self.last_line = time.monotonic()

    def update(self, done: int, text: str = "") -> None:
        now = time.monotonic()
        if self.first is None:
            self.first, self.started = done, now
            is_due = self.total > 1 and now - self.last_line > 1
        else:
            is_due = now - self.last_line >= PLAIN_INTERVAL_SECONDS
        if is_due or (done == self.total and now - self.last_line > 1):
            self.last_line = now
            write_line(", ".join(filter(None, [f"{self.what} {done}/{self.total}", text, self._pace(done, now)])))

    def _pace(self, done: int, now: float) -> str:
        if self.first is None or done <= self.first:
            return ""
        each = (now - self.started) / (done - self.first)
        rate = f"{each:.1f} s each" if each >= 1 else f"{1 / each:.1f}/s"
        left = f", {_duration(each * (self.total - done))} left" if done < self.total else ""
        return rate + left

    def close(self) -> None:
        pass


class _LiveLine(Progress):
    """A bar that redraws itself, and is gone when the work is done."""

    def __init__(self, what: str, total: int, *, shows: bool = False) -> None:
        from rich.console import Console, RenderableType
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        class Bar(RichProgress):
            picture: RenderableType = ""

            def get_renderables(self) -> Iterator[RenderableType]:
                if self.picture:
                    yield self.picture
                yield from super().get_renderables()

        self.shows = shows

        columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
        note = TextColumn("{task.fields[note]}", markup=False)
        console = Console(stderr=True)
        if len(what) > (most := max(10, console.width - 40)):  # else rich leaves out the bar, and how far it is
            what = f"{what[: most - 1]}…"
        # Not redirected: what a command prints meanwhile is data, and belongs on stdout.
        self.bar = Bar(*columns, note, console=console, transient=True, redirect_stdout=False)
        self.task = self.bar.add_task(escape(what), total=total, note="")
        self.bar.start()

    def update(self, done: int, text: str = "") -> None:
        self.bar.update(self.task, completed=done, note=text)

    def show(self, frame: "np.ndarray") -> None:
        console = self.bar.console
        is_coloured = console.color_system is not None and not console.no_color
        columns, rows = min(console.width - 1, 64), min(console.height - 3, 32)
        self.bar.picture = half_blocks(frame, columns=columns, rows=rows, is_coloured=is_coloured)

    def close(self) -> None:
        with suppress(OSError):  # the terminal is gone
            self.bar.stop()


SHADES = " .:-=+*#%@"


def half_blocks(frame: "np.ndarray", *, columns: int, rows: int, is_coloured: bool = True) -> "Text":
    """A picture in characters that are one pixel wide and two high, no larger than columns x rows.

    Without colour each is as bright as its two pixels together.
    """
    import numpy as np
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    height, width, _ = frame.shape
    scale = min(columns / width, 2 * rows / height)
    wide, high = max(1, int(width * scale)), max(1, int(height * scale / 2))
    ys = (np.arange(2 * high) + 0.5) * height / (2 * high)
    xs = (np.arange(wide) + 0.5) * width / wide
    pixels = frame[ys.astype(int)][:, xs.astype(int)]
    text = Text(no_wrap=True)
    if not is_coloured:
        levels = pixels.reshape(high, 2, wide, 3).mean(axis=(1, 3)) * len(SHADES) / 256
        return text.append("".join("".join(SHADES[int(level)] for level in row) + "\n" for row in levels))
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        text.append("\n")
    return text


def write_line(text: str) -> None:
    """One line to stderr, whole and unstyled; control characters are shown, not obeyed.

    Whoever read it may be gone, as tee is after Ctrl-C, or a terminal: what we are at goes on in silence.
    """
    try:
        print(visible(text), file=sys.stderr, flush=True)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _memory() -> str:
    """The most that this process has taken so far, and on its device what the phase took."""
    said = f"peak memory {_peak_bytes() / 1e9:.2f} GB so far"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        said += f", {torch.cuda.max_memory_allocated() / 1e9:.2f} GB on the device"
        torch.cuda.reset_peak_memory_stats()
    return said


def _peak_bytes() -> int:
    if sys.platform == "win32":  # has no such module
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
