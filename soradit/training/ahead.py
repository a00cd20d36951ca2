"""The next step's data is drawn while this step is trained on."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
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
        self.thread = ThreadPoolExecutor(1)
        self.upcoming: Future | None = None
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        is_over = self.upcoming is None or bool(wait([self.upcoming], WAIT_SECONDS).done)
        self.thread.shutdown(wait=is_over, cancel_futures=True)

    def __iter__(self) -> Iterator[Any]:
        if not self.steps:
            return
        self.upcoming = self.thread.submit(self.draw, self.steps[0])
        for step in self.steps:
            started = time.perf_counter()
            while not wait([self.upcoming], WAIT_SECONDS).done:
                self.while_waiting()
            item = self.upcoming.result()
            self.waited_seconds = time.perf_counter() - started
            if step + 1 in self.steps:
                self.upcoming = self.thread.submit(self.draw, step + 1)
            yield item
