"""The work queue hands messages to the worker threads without a lock that they would stand in line for."""

import heapq
import itertools
import time
from collections import deque
from queue import Empty
from threading import Lock
from typing import Any, Final

_JOIN_SECONDS: Final = 0.01


class WorkQueue:
    """What Dramatiq's worker asks of a queue.PriorityQueue.

    That one has a lock which every thread takes three times a job. With short jobs and more than one core the threads
    begin to queue for it, and from then on each taking of it is a switch between threads: half of the throughput was
    lost by it. Here each step is one operation that the interpreter's own lock makes whole, and a thread that finds
    nothing sleeps on a lock of its own, in a line of sleepers. Each item wakes the first of them.

    queue.SimpleQueue would be shorter. Its get() forgets its timeout, in Python 3.11, when another thread
    takes the item that woke it at the very moment that the timeout ends: such a thread never looked up again, and its
    worker could not be stopped.
    """

    def __init__(self) -> None:
        self._items: list[tuple[int, int, Any]] = []
        self._turn = itertools.count()
        self._sleepers: deque[Lock] = deque()
        self._unfinished: deque[None] = deque()  # as many as were put and are not done

    def put(self, item: Any) -> None:
        """Add an item; the lowest priority comes first, and among equals the first."""
        self._unfinished.append(None)
        heapq.heappush(self._items, (item.priority, next(self._turn), item))
        self._wake_one()

    def get(self, timeout: float | None = None) -> Any:
        """Take the next item.

        Raises:
          queue.Empty: there was none in so many seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return self.get_nowait()
            except Empty:
                self._sleep(deadline)

    def get_nowait(self) -> Any:
        """Take the next item.

        Raises:
          queue.Empty: there is none.
        """
        try:
            return heapq.heappop(self._items)[2]
        except IndexError:
            raise Empty from None

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

    def _sleep(self, deadline: float | None) -> None:
        """Until there may be an item.

        Raises:
          queue.Empty: the time is over, and nothing woke this thread.
        """
        bed = Lock()
        bed.acquire()
        self._sleepers.append(bed)
        if self._items:  # put before this thread lay down: perhaps it woke nobody
            self._wake_one()
        left = -1 if deadline is None else max(deadline - time.monotonic(), 0)
        if bed.acquire(timeout=left):
            return
        try:
            self._sleepers.remove(bed)
        except ValueError:
            return  # woken just now: the item waits for a look of this thread
        raise Empty

    def _wake_one(self) -> None:
        try:
            self._sleepers.popleft().release()
        except IndexError:
            return
