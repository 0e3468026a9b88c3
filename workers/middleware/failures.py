"""Failures decides how an attempt ended, in one place: it succeeded, is tried again, is put back, or is dead."""

import random
import time
from datetime import timedelta
from typing import Any, cast

from dramatiq import Broker, Middleware, Retry
from dramatiq.middleware import Shutdown, TimeLimitExceeded

from workers import dead_letters
from workers.clock import utcnow
from workers.delivery import Delivery, Outcome, Reason
from workers.errors import (
    ClaimLost,
    ContractError,
    Deferred,
    KeyConflict,
    PermanentFailure,
    RetryLater,
    StoreUnavailable,
)
from workers.job_broker import JobBroker

_STORE_PAUSE = timedelta(seconds=5)
_NO_PAUSE = timedelta(0)


class Failures(Middleware):
    """Classifies an attempt, and has its successor confirmed before anything is settled.

    Permanent: PermanentFailure, the actor's `throws`, a broken contract. Put back without a charge: Deferred, a store
    that is away, a shutdown. Everything else is transient: tried again with exponential backoff and full jitter, until
    `max_retries` are used up.

    Parameters:
      max_retries: tries after the first.
      min_backoff: the first delay is at most twice this.
      max_backoff: no delay is longer.
    """

    def __init__(self, *, max_retries: int, min_backoff: timedelta, max_backoff: timedelta) -> None:
        self.max_retries = max_retries
        self.min_backoff = min_backoff
        self.max_backoff = max_backoff

    @property
    def actor_options(self) -> set[str]:
        """What an actor may say for itself; the words are Dramatiq's."""
        return {"max_retries", "min_backoff", "max_backoff", "retry_when", "throws", "on_retry_exhausted"}

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Decide, and publish what follows from it."""
        assert isinstance(broker, JobBroker)  # noqa: S101  narrows the type
        outcome = _unless_canceled(message, self._outcome(broker, message, exception))
        if outcome.verdict == "retried":
            self._try_again(broker, message, outcome)
        elif outcome.verdict in {"deferred", "interrupted"}:
            broker.put_back(message, outcome.delay or _NO_PAUSE)
        elif outcome.verdict == "dead":
            broker.bury(message, dead_letters.headers(cast("Reason", outcome.reason), outcome.error, message=message))
            self._tell(broker, message, outcome)
            message.fail()
        message.outcome = outcome

    def _outcome(self, broker: JobBroker, message: Delivery, error: BaseException | None) -> Outcome:
        if error is None or (message.job is not None and message.job.ended):
            # An error after the job's transaction has committed changes nothing: it is done.
            return Outcome("succeeded", error=error)
        match error:
            case Deferred():
                outcome = Outcome("deferred", reason=error.why, delay=error.delay, error=error)
            case StoreUnavailable():
                outcome = Outcome("deferred", reason="store_unavailable", delay=_STORE_PAUSE, error=error)
            case Shutdown():
                outcome = Outcome("interrupted", reason="shutdown", delay=_NO_PAUSE, error=error)
            case ClaimLost():
                outcome = Outcome("superseded", reason="claim_lost", error=error)
            case KeyConflict():
                outcome = Outcome("dead", reason="key_conflict", error=error)
            case ContractError():
                outcome = Outcome("dead", reason="contract", error=error)
            case PermanentFailure():
                outcome = Outcome("dead", reason="permanent", error=error)
            case _:
                outcome = self._raised(broker, message, error)
        return outcome

    def _raised(self, broker: JobBroker, message: Delivery, error: BaseException) -> Outcome:
        options = {**broker.get_actor(message.actor_name).options, **message.options}
        throws = options.get("throws")
        if throws and isinstance(error, throws):
            return Outcome("dead", reason="permanent", error=error)
        used = message.attempt - 1
        retry_when = options.get("retry_when")
        again = retry_when(used, error) if retry_when else used < options.get("max_retries", self.max_retries)
        if not again:
            reason = "time_limit" if isinstance(error, TimeLimitExceeded) else "retries_exhausted"
            return Outcome("dead", reason=reason, error=error)
        return Outcome("retried", delay=self._delay(options, used, error), error=error)

    def _delay(self, options: dict[str, Any], used: int, error: BaseException) -> timedelta:
        if isinstance(error, RetryLater):
            return error.delay
        if isinstance(error, Retry) and error.delay is not None:
            return timedelta(milliseconds=error.delay)
        shortest = options.get("min_backoff", self.min_backoff / timedelta(milliseconds=1))
        longest = options.get("max_backoff", self.max_backoff / timedelta(milliseconds=1))
        ceiling = min(longest, shortest * 2 ** min(used + 1, 30))
        return timedelta(milliseconds=random.uniform(0, ceiling))  # noqa: S311  jitter is no secret

    def _try_again(self, broker: JobBroker, message: Delivery, outcome: Outcome) -> None:
        now = utcnow().isoformat(timespec="milliseconds")
        options = {
            "attempt": message.attempt + 1,
            "first_failed_at": message.options.get("first_failed_at", now),
            "requeue_timestamp": int(time.time() * 1000),
        }
        delay = outcome.delay or _NO_PAUSE
        broker.send_to_queue(message.copy(options=options), int(delay.total_seconds() * 1000))

    def _tell(self, broker: JobBroker, message: Delivery, outcome: Outcome) -> None:
        """Dramatiq's on_retry_exhausted: a message to another actor."""
        options = {**broker.get_actor(message.actor_name).options, **message.options}
        target = options.get("on_retry_exhausted")
        if target and outcome.reason in {"retries_exhausted", "time_limit"}:
            used = {"retries": message.attempt - 1, "max_retries": options.get("max_retries", self.max_retries)}
            broker.publish(broker.get_actor(target).message(message.asdict(), used))


def _unless_canceled(message: Delivery, outcome: Outcome) -> Outcome:
    """What ends a job that somebody has canceled while it ran, and that did not succeed: nothing follows from it."""
    job = message.job
    if outcome.verdict not in {"retried", "dead", "deferred", "interrupted"} or job is None or job.claim is None:
        return outcome
    try:
        canceled = job.canceled
    except StoreUnavailable:
        return outcome  # its next claim will tell
    return Outcome("canceled", reason="canceled while it ran", error=outcome.error) if canceled else outcome
