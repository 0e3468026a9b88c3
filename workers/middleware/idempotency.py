"""Idempotency lets a job take effect once: it claims the key before, and has the ending recorded after."""

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

from dramatiq import Broker, Message, Middleware, Worker
from dramatiq.middleware import SkipMessage
from sqlalchemy import Engine

from workers.delivery import Delivery, Outcome
from workers.endings import Endings
from workers.errors import ClaimLost, Deferred, DutifulError, KeyConflict, KeyInHand, StoreUnavailable
from workers.job import Job
from workers.job_broker import JobBroker
from workers.store import batches, outbox
from workers.store.engine import begin
from workers.store.holders import Holder
from workers.store.keys import Claim, Ending, Request
from workers.store.readiness import make_ready, packages_of

_FIRST_WAIT: Final = timedelta(milliseconds=100)
_LONGEST_WAIT: Final = timedelta(seconds=30)
_EXIT_NOT_READY: Final = 65

_log = logging.getLogger(__name__)


class Idempotency(Middleware):
    """Runs a job whose key is done no second time. While the store is away, nothing that has a key begins.

    Parameters:
      engine: the store's.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.holder: Holder | None = None
        self.endings: Endings | None = None
        self._running: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Take this process's lease; a store that isn't ready ends the process before it consumes anything."""
        try:
            make_ready(self.engine, packages_of(broker.actors.values()))
            self.holder = Holder.register(self.engine)
            self.holder.start()
        except DutifulError as error:
            _log.critical("the store isn't ready: %s", error)
            raise SystemExit(_EXIT_NOT_READY) from None  # Dramatiq logs any other error, and goes on
        self.endings = Endings(self.engine)
        self.endings.start()

    def before_consumer_thread_shutdown(self, broker: Broker, thread: Any) -> None:
        """The threads have ended, and the channels are open still: have the last endings recorded."""
        if self.endings is not None:
            self.endings.flush()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Give the lease up."""
        if self.endings is not None:
            self.endings.stop()
        if self.holder is not None:
            self.holder.release()

    def prepare(self, broker: Broker, deliveries: list[Delivery]) -> None:
        """Claim the keys of many jobs in one transaction; while the store is away, it refuses them."""
        asking = [each for each in deliveries if each.refusal is None and each.job and each.job.key is not None]
        asking = [each for each in asking if self._reserve(each)]
        if not asking:
            return
        try:
            with begin(self.engine) as connection:
                claims = batches.claim(connection, [_request(each) for each in asking], holder=self._holder_id)
        except BaseException as error:
            for each in asking:
                self._running.discard(_name(each))
            if not isinstance(error, StoreUnavailable):
                raise
            for each in asking:
                each.refusal = error
            return
        for each, claim in zip(asking, claims, strict=True):
            self._claimed(each, claim)

    def _reserve(self, delivery: Delivery) -> bool:
        """Whether no thread of this process has the key; a channel that was lost may bring the message here again."""
        with self._lock:
            if _name(delivery) in self._running:
                what = f"{delivery.actor_name} {_name(delivery)[1]} is running here"
                delivery.refusal = KeyInHand(what, why="still_running", delay=_wait(delivery))
                return False
            self._running.add(_name(delivery))
            return True

    def _claimed(self, delivery: Delivery, claim: Claim) -> None:
        _job(delivery).claimed(claim, self._holder_id)
        if claim.outcome == "run":
            delivery.record = partial(self._record, delivery)
        else:
            self._running.discard(_name(delivery))

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Let it run if it has its key.

        Raises:
          SkipMessage: it is done already, or a newer message has taken its place.
          Deferred: it is running elsewhere.
          KeyConflict: the key belongs to other arguments.
        """
        assert isinstance(broker, JobBroker)  # noqa: S101  narrows the type
        job = _job(message)
        match job.claim and job.claim.outcome:
            case "duplicate":
                self._send_what_is_left(broker, job)
                state = job.claim.recorded.state if job.claim and job.claim.recorded else "done"
                message.outcome = Outcome("duplicate", reason=f"its key is {state}")
                raise SkipMessage(message.outcome.reason)
            case "superseded":
                message.outcome = Outcome("superseded", reason="a newer message has taken its place")
                raise SkipMessage("a newer message has taken its place")
            case "running":
                what = f"{job.actor} {job.key} is running elsewhere"
                raise Deferred(what, why="still_running", delay=_wait(message))
            case "conflict":
                raise KeyConflict(
                    f"the key {job.key} of {job.actor} belongs to a job with other arguments",
                    expected="the arguments that came first, or another key",
                    received=f"message {message.message_id}",
                )

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """Publish what the commit that ended the job has left to be sent."""
        assert isinstance(broker, JobBroker)  # noqa: S101  narrows the type
        if message.job is not None and message.job.ended:
            self._send_what_is_left(broker, message.job)

    def _record(self, delivery: Delivery, conclude: Callable[[Delivery], None]) -> None:
        """Have it recorded how the attempt ended; one that never began gives its claim back."""
        ending = _ending(delivery)
        if ending is None or self.endings is None:
            self._recorded(delivery, conclude, None)
        else:
            self.endings.add(ending, partial(self._recorded, delivery, conclude))

    def _recorded(self, delivery: Delivery, conclude: Callable[[Delivery], None], error: Exception | None) -> None:
        # Whatever happened, it runs here no longer: its next delivery may claim it.
        self._running.discard(_name(delivery))
        if error is not None:
            _log.warning("%s; its message %s is handed back", error, delivery.message_id)
            reason = "claim_lost" if isinstance(error, ClaimLost) else "not_recorded"
            delivery.settled, delivery.outcome = False, Outcome("interrupted", reason=reason, error=error)
        conclude(delivery)

    @property
    def _holder_id(self) -> str:
        if self.holder is None:
            raise StoreUnavailable("this process has no lease", expected="a worker that has booted")
        return self.holder.id

    def _send_what_is_left(self, broker: JobBroker, job: Job) -> None:
        """Publish what the job's commit left to be sent, then forget it."""
        assert job.key is not None  # noqa: S101  narrows the type
        with begin(self.engine) as connection:
            left = outbox.pending(connection, job.actor, job.key)
        for each in left:
            broker.publish(Message.decode(each.body), delay=each.delay_ms)
        if left:
            with begin(self.engine) as connection:
                outbox.forget(connection, job.actor, job.key, [each.message_id for each in left])


def _job(delivery: Delivery) -> Job:
    assert delivery.job is not None  # noqa: S101  CurrentJob stands above in the list
    return delivery.job


def _name(delivery: Delivery) -> tuple[str, str]:
    job = _job(delivery)
    return job.actor, job.key or ""


def _wait(delivery: Delivery) -> timedelta:
    """Mostly an ending is about to be recorded: a second look soon, and fewer and fewer after it."""
    deferrals = int(delivery.options.get("deferrals", 0))
    return min(_FIRST_WAIT * (1 << min(deferrals, 10)), _LONGEST_WAIT)


def _request(delivery: Delivery) -> Request:
    job = _job(delivery)
    return Request(job.actor, job.key or "", job.id, job.arguments_hash, job.attempt, job.generation)


def _ending(delivery: Delivery) -> Ending | None:
    job, outcome = _job(delivery), delivery.outcome
    assert job.key is not None and job.claim is not None  # noqa: S101, PT018  it was claimed
    verdict = outcome.verdict if outcome is not None else "interrupted"
    if verdict == "superseded" or job.ended:
        return None  # it is another's, or recorded already
    held = (job.actor, job.key, job.holder, job.claim.fence)
    match verdict:
        case "succeeded":
            return Ending(*held, "done")
        case "dead":
            return Ending(*held, "dead")
        case "retried":
            return Ending(*held, "waiting", attempt=job.attempt + 1)
        case _:
            return Ending(*held, "waiting")
