"""Failures has what follows from an attempt confirmed before it is settled: a retry, a put-back, a dead letter."""

import time
from datetime import timedelta
from typing import Any, cast

from dramatiq import Broker, Middleware

from workers import post_mortem
from workers.classification import Backoff, classify
from workers.clock import utcnow
from workers.delivery import Delivery, Outcome, Reason
from workers.errors import ContractError, DutifulError, StoreUnavailable
from workers.job_broker import JobBroker

_NO_PAUSE = timedelta(0)
_SUCCEEDED = Outcome("succeeded")


class Failures(Middleware):
    """Does what workers.classification says, and has it confirmed before anything is settled.

    Parameters:
      max_retries: tries after the first.
      min_backoff: the first delay is at most twice this.
      max_backoff: no delay is longer.
    """

    def __init__(self, *, max_retries: int, min_backoff: timedelta, max_backoff: timedelta) -> None:
        self.backoff = Backoff(max_retries, min_backoff, max_backoff)

    @property
    def actor_options(self) -> set[str]:
        """What an actor may say for itself; the words are Dramatiq's."""
        return {"max_retries", "min_backoff", "max_backoff", "retry_when", "throws", "on_retry_exhausted"}

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Decide, and publish what follows from it."""
        assert isinstance(broker, JobBroker)  # noqa: S101  narrows the type
        exception = exception or _refused(message, result)
        outcome = _unless_canceled(message, self._outcome(broker, message, exception))
        if outcome.verdict == "retried":
            outcome = self._try_again(broker, message, outcome)
        if outcome.verdict in {"deferred", "interrupted"}:
            broker.put_back(message, outcome.delay or _NO_PAUSE)
        if outcome.verdict == "dead":
            broker.bury(message, post_mortem.headers(cast("Reason", outcome.reason), outcome.error, message=message))
            self._tell(broker, message, outcome)
            message.fail()
        message.outcome = outcome

    def _outcome(self, broker: JobBroker, message: Delivery, error: BaseException | None) -> Outcome:
        if error is None:
            return _SUCCEEDED
        if message.job is not None and message.job.ended:
            # An error after the job's transaction has committed changes nothing: it is done.
            return Outcome("succeeded", error=error)
        declared = broker.get_actor(message.actor_name).options
        used = message.attempt - 1
        return classify(error, used=used, declared=declared, sent=message.options, backoff=self.backoff)

    def _try_again(self, broker: JobBroker, message: Delivery, outcome: Outcome) -> Outcome:
        """Send it again; a message that can't be sent, such as one that is too large, is dead."""
        now = utcnow().isoformat(timespec="milliseconds")
        options = {
            "attempt": message.attempt + 1,
            "first_failed_at": message.options.get("first_failed_at", now),
            "failures": post_mortem.failures(message, outcome.error),
            "requeue_timestamp": int(time.time() * 1000),
        }
        delay = outcome.delay or _NO_PAUSE
        try:
            broker.send_to_queue(message.copy(options=options), int(delay.total_seconds() * 1000))
        except ContractError as error:
            error.__cause__ = outcome.error
            return Outcome("dead", reason="contract", error=error)
        return outcome

    def _tell(self, broker: JobBroker, message: Delivery, outcome: Outcome) -> None:
        """Dramatiq's on_retry_exhausted: a message to another actor."""
        options = {**broker.get_actor(message.actor_name).options, **message.options}
        target = options.get("on_retry_exhausted")
        if target and outcome.reason in {"retries_exhausted", "time_limit", "crashed"}:
            used = {"retries": message.attempt - 1, "max_retries": options.get("max_retries", self.backoff.max_retries)}
            broker.publish(broker.get_actor(target).message(message.asdict(), used))


def _refused(message: Delivery, result: Any) -> DutifulError | None:
    """Why what follows from a success can't be made of its result, while that can still end the job."""
    try:
        if message.job is not None and not message.job.ended:
            message.job.prepare(result)
    except DutifulError as error:
        return error
    return None


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
