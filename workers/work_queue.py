"""The work queue hands messages to the worker threads without a lock that they would stand in line for."""

import heapq
import itertools
import time
from collections import deque
from queue import SimpleQueue
from typing import Any, Final

_JOIN_SECONDS: Final = 0.01


class WorkQueue:
    """What Dramatiq's worker asks of a queue.PriorityQueue.

    That one has a lock which every thread takes three times a job. With short jobs and more than one core the threads
    begin to queue for it, and from then on each taking of it is a switch between threads: half of the throughput was
    lost by it. Here each step is one operation that the interpreter's own lock makes whole.
    """

    def __init__(self) -> None:
        self._items: list[tuple[int, int, Any]] = []
        self._turn = itertools.count()
        self._there: SimpleQueue[None] = SimpleQueue()  # as many as there are items
        self._unfinished: deque[None] = deque()  # as many as were put and are not done

    def put(self, item: Any) -> None:
        """Add an item; the lowest priority comes first, and among equals the first."""
        self._unfinished.append(None)
        heapq.heappush(self._items, (item.priority, next(self._turn), item))
        self._there.put(None)

    def get(self, timeout: float | None = None) -> Any:
        """Take the next item.

        Raises:
          queue.Empty: there was none in so many seconds.
        """
        self._there.get(timeout=timeout)
        return heapq.heappop(self._items)[2]

    def get_nowait(self) -> Any:
        """Take the next item.

        Raises:
          queue.Empty: there is none.
        """
        self._there.get_nowait()
        return heapq.heappop(self._items)[2]

    def task_done(self) -> None:
        """Say that an item is done with."""
        self._unfinished.pop()

    @property
    def unfinished_tasks(self) -> int:
        """How many items were put and are not done."""
        return len(self._unfinished)

    def join(self) -> None:
        """Wait until every item is done."""
        while self._unfinished:
            time.sleep(_JOIN_SECONDS)
