"""Signals that reach every process of a terminal."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


def leave_signals_to_the_first() -> None:
    """In a process that another has started: Ctrl-C and a terminal's end are for that one to act upon."""
    for number in _of_the_terminal():
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def held_back() -> Iterator[None]:
    """While a process is started: such signals wait, and in that process for good, which can't ignore them at once.

    It would be interrupted in the midst of its imports, and say so at length.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it starts with the first process otherwise, and lets SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _of_the_terminal())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _of_the_terminal() -> list[signal.Signals]:
    return [signal.Signals[name] for name in ("SIGINT", "SIGHUP") if name in signal.Signals.__members__]
