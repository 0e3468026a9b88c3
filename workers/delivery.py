"""A delivery is one message as it was handed to this process, with what has been decided about it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from dramatiq import Message
from dramatiq.broker import MessageProxy

if TYPE_CHECKING:
    from workers.job import Job

Verdict = Literal["succeeded", "retried", "dead", "deferred", "duplicate", "superseded", "canceled", "interrupted"]


Reason = Literal[
    "permanent", "retries_exhausted", "contract", "undecodable", "unknown_actor", "key_conflict", "time_limit"
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
      outcome: how the attempt ended; None while that is open.
      settled: it may be acknowledged. Anything else is handed back.
      finished: its `after` hooks have begun; they run once.
      job: what `current_job()` returns while it runs.
      began: when the attempt began, by the monotonic clock, in seconds.
      counted: the metrics have seen it begin.
    """

    def __init__(self, message: Any, *, redelivered: bool = False, arrival: Any = None, consumer: Any = None) -> None:
        super().__init__(message)
        self.redelivered = redelivered
        self.arrival = arrival
        self.consumer = consumer
        self.outcome: Outcome | None = None
        self.settled = False
        self.finished = False
        self.job: Job | None = None
        self.began = 0.0
        self.counted = False

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
