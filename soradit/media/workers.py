"""Strangers' files in processes of their own: a decoder that crashes or hangs costs one file, and decoding runs ahead.

A job is a generator at a module's top level, whose first argument is the file's path. What it yields is handed on in
order; None is a sign of life and goes no further.
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from soradit.errors import SoraditError
from soradit.media.decoding import Unreadable
from soradit.signals import held_back, leave_signals_to_the_first

WORKERS = 2
"""One whose results are taken, and one that runs ahead."""
STALL_SECONDS = 60.0
"""A job that gives no sign of life for so long hangs."""
START_SECONDS = 120.0
"""So long a process may take to start, on a busy machine."""
POLL_SECONDS = 0.2

Job = Callable[..., Iterator[Any]]


def read_ahead(
    job: Job,
    calls: Iterable[tuple],
    *,
    stall_seconds: float = STALL_SECONDS,
    while_waiting: Callable[[], None] = lambda: None,
) -> Iterator[Iterator[Any]]:
    """Yield, for the arguments of each call in turn, an iterator over what the job yields.

    The next call is at work meanwhile; ``calls`` is asked for no more than that. The iterator raises the
    job's own SoraditError, or Unreadable where it fails otherwise, crashes or hangs. ``while_waiting`` is called a few
    times a second, and may raise.
    """
    running: deque[_Worker] = deque()
    try:
        for arguments in calls:
            running.append(_idle.pop() if _idle else _Worker())
            running[-1].start(job, arguments)
            if len(running) == WORKERS:
                yield from _first_results(running, stall_seconds, while_waiting)
        while running:
            yield from _first_results(running, stall_seconds, while_waiting)
    finally:
        for worker in running:
            worker.stop()


def _first_results(
    running: "deque[_Worker]", stall_seconds: float, while_waiting: Callable[[], None]
) -> Iterator[Iterator[Any]]:
    worker = running[0]
    results: Any = worker.results(stall_seconds, while_waiting)
    yield results
    results.close()
    running.popleft()
    if worker.is_idle:
        _idle.append(worker)
    else:
        worker.stop()


class _Worker:
    def __init__(self) -> None:
        context = get_context("spawn")  # a fork of a process with threads, torch's or CUDA's, may hang
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with held_back():
            self.process.start()
        theirs.close()
        self.is_idle, self.has_started = True, False

    def start(self, job: Job, arguments: tuple) -> None:
        self.name = arguments[0]
        self.is_idle = False
        with suppress(OSError):  # it died while it was idle, as results will tell
            self.connection.send((job, arguments))

    def results(self, stall_seconds: float, while_waiting: Callable[[], None]) -> Iterator[Any]:
        heard = time.monotonic()
        while True:
            if self.connection.poll(POLL_SECONDS):
                heard = time.monotonic()
                try:
                    kind, value = self.connection.recv()
                except (EOFError, OSError):
                    raise self._death() from None
                self.has_started = True
                if kind in ("done", "error"):
                    self.is_idle = True
                if kind == "error":
                    raise value
                if kind == "done":
                    return
                if value is not None:
                    yield value
            elif time.monotonic() - heard > (stall_seconds if self.has_started else START_SECONDS):
                raise Unreadable(f"{self.name}: its decoder hangs: nothing came of it for {stall_seconds:g} s")
            while_waiting()

    def _death(self) -> SoraditError:
        self.process.join(5)
        code = self.process.exitcode
        if code is not None and code >= 0:
            return SoraditError(
                f"a reading process ended with exit code {code}; a script of your own must start soradit from under "
                'if __name__ == "__main__":'
            )
        return Unreadable(f"{self.name}: its decoder crashed ({signal.Signals(-(code or -9)).name})")

    def stop(self) -> None:
        with suppress(OSError):
            self.connection.close()
        self.process.kill()
        self.process.join()


_idle: list[_Worker] = []
"""Kept for the next files: to start one takes a second."""


def _serve(connection: Connection) -> None:
    """Do one job after another until nobody asks any more."""
    leave_signals_to_the_first()
    try:
        connection.send(("started", None))
        while True:
            job, arguments = connection.recv()
            try:
                for value in job(*arguments):
                    connection.send(("value", value))
                connection.send(("done", None))
            except (BrokenPipeError, ConnectionError):
                raise
            except SoraditError as error:
                connection.send(("error", error))
            except Exception as error:  # of strangers' files, libraries raise anything
                reason = f"{arguments[0]}: can't be read: {type(error).__name__}: {error}"
                connection.send(("error", Unreadable(reason)))
    except (EOFError, OSError):
        return
