"""A subscription holds what one queue has delivered until the worker threads have room for it."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

from workers.transport.arrival import Arrival, Stream

# So many messages a worker thread wait in this process where jobs are short, and so many of them are handed out.
_DEEP_FETCHED: Final = 64
_DEEP_HANDED_OUT: Final = 32


@dataclass(frozen=True)
class Depth:
    """How far ahead of its threads a process fetches from a queue.

    Attributes:
      fetched: messages that RabbitMQ sends before it hears of the first: the prefetch count.
      handed_out: how many of them may be with the worker threads at once.
      is_shared: all queues with shared room have it together, so that a message is handed out only to an idle thread.
    """

    fetched: int
    handed_out: int
    is_shared: bool

    @classmethod
    def of(cls, threads: int, *, short: bool) -> Self:
        """Deep where jobs are short, so that no thread waits for the network; else not more than threads can begin."""
        if short:
            return cls(_DEEP_FETCHED * threads, _DEEP_HANDED_OUT * threads, is_shared=False)
        return cls(threads, threads, is_shared=True)


class Room:
    """How many messages are with the worker threads, and how many may be. The intake's lock guards it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0


class Subscription:
    """One queue of the intake.

    Parameters:
      lock: the intake's; it guards everything here.
      depth: how far ahead to fetch.
      room: the room that it shares, or its own.
      is_urgent: tells from its properties that a message can't wait until a thread is idle.

    Attributes:
      problem: why the broker ended it; it must be made anew.
      is_held_up: nothing is handed out.
    """

    def __init__(
        self, lock: threading.Lock, queue: str, depth: Depth, room: Room, is_urgent: Callable[[Any], bool]
    ) -> None:
        self.queue = queue
        self.depth = depth
        self.room = room
        self.is_urgent = is_urgent
        self.problem: BaseException | None = None
        self.is_held_up = False
        self.stream: Stream | None = None
        self.is_opening = False  # only the link's thread
        self.waiting: deque[Arrival] = deque()
        self.urgent: deque[Arrival] = deque()
        self.news = threading.Condition(lock)

    @property
    def is_connected(self) -> bool:
        """Whether messages can come."""
        return self.stream is not None and not self.stream.is_gone

    def take(self, seconds: float) -> list[Arrival]:
        """What is here and urgent or has room, once there is something; nothing when nothing is in time."""
        deadline = time.monotonic() + seconds
        with self.news:
            while not self.has_something:
                left = deadline - time.monotonic()
                if left <= 0 or self.problem is not None:
                    return []
                self.news.wait(left)
            taken = list(self.urgent)
            self.urgent.clear()
            for _ in range(min(len(self.waiting), self.room.limit - self.room.taken)):
                taken.append(self.waiting.popleft())  # noqa: PERF401  it empties the queue
            self.room.taken += len(taken)
            return taken

    @property
    def has_something(self) -> bool:
        """Whether `take` would return something. Holds the lock."""
        if self.is_held_up:
            return False
        if self.urgent:
            return True
        room = self.room.limit - self.room.taken
        # A room of its own is filled when half of it is free: a switch of threads for many messages, not for each.
        return bool(self.waiting) and room > (0 if self.depth.is_shared else self.room.limit // 2)

    def tell(self) -> bool:
        """Wake who waits for this queue, if there is something. Holds the lock."""
        if not self.has_something:
            return False
        self.news.notify()
        return True

    def widen(self) -> None:
        """Hand out one more than before: what has one of them won't be idle again, and another thread is."""
        with self.news:
            self.room.limit += 1
            self.tell()

    @property
    def waiting_since(self) -> float | None:
        """When the first message that waits was sent, in seconds since 1970; None: nothing waits."""
        with self.news:
            first = next(iter(self.waiting), None)
        return None if first is None else float(first.properties.timestamp or 0)  # not every client says it

    def forget(self) -> list[Arrival]:
        """Hand none of those out that wait, and return them. Holds the lock."""
        forgotten = [*self.urgent, *self.waiting]
        self.urgent.clear()
        self.waiting.clear()
        return forgotten
