"""Being asked to stop: by a signal, a file, or the clock; every long phase looks now and then."""

import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType

import numpy as np

from soradit.errors import INTERRUPTED
from soradit.report import Forwarding, Progress, Report

STOP_FILE = "stop"
"""``touch RUN/stop`` ends a training that no signal reaches."""


GRACE_SECONDS = 2.0
"""To end in good order after a second SIGINT."""
AT_ONCE = "SIGINT again: stopping at once"


class StopRequested(BaseException):
    """Raised where work may end; its text says what asked for it. No error to recover from, like KeyboardInterrupt."""


class Stop:
    """While entered, SIGTERM, SIGINT, SIGUSR1 and SIGHUP are requests, as are the file ``run / stop`` and the clock.

    A second SIGINT interrupts at once. ``report`` hears of signals as they come.
    """

    SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")

    def __init__(
        self,
        run: Path,
        max_hours: float | None = None,
        report: Report | None = None,
    ) -> None:
        self.file = run / STOP_FILE
        self.max_hours = max_hours
        self.deadline = time.monotonic() + 3600 * (max_hours or math.inf)
        self.agree: Callable[[str], str] = lambda reason: reason
        """Makes several processes stop at the same place, for the first one's reason."""
        self.report = report or Report()
        self.requested = ""
        self.interrupted = False
        self.is_at_once = False
        """Whether a signal raises StopRequested, wherever it comes."""

    def poll(self, *, clock: bool = True) -> None:
        """Raises StopRequested when there is a reason to; without ``clock``, ``max_hours`` is none."""
        if reason := self.agree(self._reason(clock)):
            raise StopRequested(reason)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """For work that calls nothing of ours: while entered, a signal raises StopRequested in the middle of it."""
        self.is_at_once = True
        try:
            if self.requested:
                raise StopRequested(self.requested)
            yield
        finally:
            self.is_at_once = False

    def _reason(self, clock: bool) -> str:
        if not self.requested and self.file.exists():
            self.file.unlink(missing_ok=True)  # heeded: the next run goes on
            self.requested = str(self.file)
        if clock and not self.requested and time.monotonic() > self.deadline:
            self.requested = f"--max-hours {self.max_hours}"
        return self.requested

    def __enter__(self) -> "Stop":
        self._undo = ExitStack()
        with suppress(ValueError):  # not in the main thread: whoever runs us there handles signals
            for name in self.SIGNALS:
                number = getattr(signal, name, None)
                if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):  # by nohup
                    continue
                self._undo.callback(signal.signal, number, signal.signal(number, self._on_signal))
            self._undo.enter_context(_second_interrupt_at_once(self._say))
        self._terminals = [stream for stream in (sys.stdout, sys.stderr) if not stream.closed and stream.isatty()]
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._undo.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGINT:
            if self.interrupted:
                self._say(AT_ONCE)
                raise KeyboardInterrupt
            self.interrupted = True
        self.requested = name
        if name == "SIGHUP":
            self._leave_terminals()
        self._say(f"{name}: stopping as soon as the state can be saved" + "; again: at once" * (name == "SIGINT"))
        if self.is_at_once:
            self.is_at_once = False  # once
            raise StopRequested(name)

    def _leave_terminals(self) -> None:
        """They are gone, and what is written to them from now on is lost, instead of an error."""
        for stream in self._terminals:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

    def _say(self, text: str) -> None:
        with suppress(RuntimeError, OSError):  # a line was being written when the signal came, or nobody reads
            self.report.note(text)


@contextmanager
def _second_interrupt_at_once(say: Callable[[str], None]) -> Iterator[None]:
    """While entered, a second SIGINT ends the process in the middle of a long operation, too.

    Python's handlers run between operations, and hear of two signals within one as of one; those of a training's steps
    may be long. But what is written to the wakeup descriptor, another thread reads at once.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)
    left = threading.Event()

    def listen() -> None:
        interrupts = 0
        with heard:
            while received := heard.recv(1):
                interrupts += received[0] == signal.SIGINT
                if interrupts == 2 and not left.wait(GRACE_SECONDS):
                    say(AT_ONCE)
                    os._exit(INTERRUPTED)

    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        told.close()
        listener.join()


class Stoppable(Forwarding):
    """A report that passes on what it is told, and whose every sign of progress is a chance to stop.

    Without ``clock``, which is for work that would begin anew the next time, ``max_hours`` is no reason to.
    """

    def __init__(self, report: Report, stop: Stop, *, clock: bool = True) -> None:
        super().__init__(report)
        self.stop, self.clock = stop, clock

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        with super().progress(what, total) as progress:
            yield _StoppableProgress(progress, partial(self.stop.poll, clock=self.clock))


class _StoppableProgress(Progress):
    def __init__(self, progress: Progress, poll: Callable[[], None]) -> None:
        self.progress, self.poll, self.shows = progress, poll, progress.shows

    def update(self, done: int, text: str = "") -> None:
        self.progress.update(done, text)
        self.poll()

    def show(self, frame: np.ndarray) -> None:
        self.progress.show(frame)
