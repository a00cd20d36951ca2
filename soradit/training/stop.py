"""Being asked to stop: the loop finishes its step, saves, and ends."""

import signal
from types import FrameType, TracebackType


class StopSignal:
    """While entered, SIGTERM, SIGINT and SIGUSR1 set ``requested`` to the signal's name; a second SIGINT interrupts."""

    SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1")

    def __init__(self) -> None:
        self.requested = ""

    def __enter__(self) -> "StopSignal":
        self._previous = {}
        for name in self.SIGNALS:
            if number := getattr(signal, name, None):
                try:
                    self._previous[number] = signal.signal(number, self._on_signal)
                except ValueError:  # not in the main thread: whoever runs us there handles signals
                    break
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name
