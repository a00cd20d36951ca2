"""The next step's data is drawn while this step is trained on."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from queue import SimpleQueue
from types import TracebackType
from typing import Any

WAIT_SECONDS = 1.0


class Ahead:
    """Iterates over ``draw(step)`` for each of ``steps``, one step ahead, in a thread.

    ``while_waiting`` is called now and then, and may raise; a draw that is left then is not waited for, unless it is
    soon over.
    """

    def __init__(
        self, draw: Callable[[int], Any], steps: range, while_waiting: Callable[[], None] = lambda: None
    ) -> None:
        self.draw, self.steps, self.while_waiting = draw, steps, while_waiting
        self.waited_seconds = 0.0
        """For the newest item."""

    def __enter__(self) -> "Ahead":
        self.asked: SimpleQueue[tuple[int, Future] | None] = SimpleQueue()
        self.upcoming: Future | None = None
        # Unlike an executor's, a daemon is not waited for at the end of the process either.
        threading.Thread(target=self._answer, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.asked.put(None)
        if self.upcoming is not None:
            wait([self.upcoming], WAIT_SECONDS)

    def __iter__(self) -> Iterator[Any]:
        if not self.steps:
            return
        self.upcoming = self._ask(self.steps[0])
        for step in self.steps:
            started = time.perf_counter()
            while not wait([self.upcoming], WAIT_SECONDS).done:
                self.while_waiting()
            item = self.upcoming.result()
            self.waited_seconds = time.perf_counter() - started
            if step + 1 in self.steps:
                self.upcoming = self._ask(step + 1)
            yield item

    def _ask(self, step: int) -> Future:
        drawn: Future = Future()
        self.asked.put((step, drawn))
        return drawn

    def _answer(self) -> None:
        while (asked := self.asked.get()) is not None:
            step, drawn = asked
            try:
                drawn.set_result(self.draw(step))
            except BaseException as error:  # for whoever takes the result
                drawn.set_exception(error)
