"""The next step's data is drawn while this step is trained on."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any


class Ahead:
    """Iterates over ``draw(step)`` for each of ``steps``, one step ahead, in a thread."""

    def __init__(self, draw: Callable[[int], Any], steps: range) -> None:
        self.draw, self.steps = draw, steps
        self.waited_seconds = 0.0
        """For the newest item."""

    def __enter__(self) -> "Ahead":
        self.thread = ThreadPoolExecutor(1)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.thread.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Any]:
        if not self.steps:
            return
        upcoming = self.thread.submit(self.draw, self.steps[0])
        for step in self.steps:
            started = time.perf_counter()
            item = upcoming.result()
            self.waited_seconds = time.perf_counter() - started
            if step + 1 in self.steps:
                upcoming = self.thread.submit(self.draw, step + 1)
            yield item
