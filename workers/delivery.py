"""A delivery is one message as it was handed to this process, with what has been decided about it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from dramatiq import Message
from dramatiq.broker import MessageProxy

if TYPE_CHECKING:
    from workers.counters import JobCounters
    from workers.job import Job
    from workers.watch import Attempt

Verdict = Literal["succeeded", "retried", "dead", "deferred", "duplicate", "superseded", "canceled", "interrupted"]


Reason = Literal[
    "permanent",
    "retries_exhausted",
    "contract",
    "undecodable",
    "unknown_actor",
    "key_conflict",
    "time_limit",
    "crashed",
    "expired",
]


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
      verdict: one word.
      reason: why it is dead, deferred, superseded or canceled.
      delay: when it comes back, for retried and deferred.
      error: what the job raised.
    """

    verdict: Verdict
    reason: str = ""
    delay: timedelta | None = None
    error: BaseException | None = None


class Delivery(MessageProxy):
    """A message, the place it was delivered to, and whether it may be settled.

    Nothing is settled by default: only an attempt whose every hook ended well, with its successor confirmed, is.

    Attributes:
      redelivered: the broker has handed it out before.
      arrival: where it is settled; None on a broker without channels.
      consumer: who settles it.
      refusal: what went wrong while it was prepared; it is raised instead of running it.
      outcome: how the attempt ended; None while that is open.
      begun: the hooks have seen it.
      settled: it may be acknowledged. Anything else is handed back.
      finished: its `after` hooks have begun; they run once.
      record: writes down how it ended before it is settled, and calls back; None: nothing is to be written.
      job: what `current_job()` returns while it runs.
      isolate: runs it in a child process; None: it runs in its thread.
      running: how the watch sees it while it runs.
      received: when it came, by the monotonic clock, in seconds.
      began: when the attempt began, by the monotonic clock, in seconds.
      took: how long it ran, in seconds, once it has ended.
      counters: where it is counted; None: the metrics have not seen it begin.
      database_calls: how many statements of SQL the job has sent.
    """

    def __init__(self, message: Any, *, redelivered: bool = False, arrival: Any = None, consumer: Any = None) -> None:
        super().__init__(message)
        # Its own, because MessageProxy looks each of them up anew, dozens of times a job.
        self.queue_name: str = message.queue_name
        self.actor_name: str = message.actor_name
        self.args: tuple[Any, ...] = message.args
        self.kwargs: dict[str, Any] = message.kwargs
        self.options: dict[str, Any] = message.options
        self.message_id: str = message.message_id
        self.message_timestamp: int = message.message_timestamp
        self.redelivered = redelivered
        self.arrival = arrival
        self.consumer = consumer
        self.refusal: BaseException | None = None
        self.outcome: Outcome | None = None
        self.begun = False
        self.settled = False
        self.finished = False
        self.record: Callable[[Delivery, Callable[[Delivery], None]], None] | None = None
        self.job: Job | None = None
        self.isolate: Callable[[Callable[[], Any]], Any] | None = None
        self.running: Attempt | None = None
        self.received = time.monotonic()
        self.began = 0.0
        self.took = 0.0
        self.counters: JobCounters | None = None
        self.database_calls = 0

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return int(self.options.get("attempt", 1))

    @property
    def generation(self) -> int:
        """How often the job has been replayed, from 0."""
        return int(self.options.get("generation", 0))

    @property
    def is_stale(self) -> bool:
        """The channel that delivered it is gone: the broker has given the message to somebody else."""
        return self.arrival is not None and self.arrival.stream.is_gone


Carried = Message[Any] | Delivery
"""A message, whether it was just made or has been delivered."""
