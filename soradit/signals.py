"""Signals that reach every process of a terminal."""

import signal


def leave_signals_to_the_first() -> None:
    """In a process that another has started: Ctrl-C and a terminal's end are for that one to act upon."""
    for name in ("SIGINT", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
