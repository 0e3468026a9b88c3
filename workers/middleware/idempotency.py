"""Idempotency lets a job take effect once: it claims the key before, and has the ending recorded after."""

import logging
from datetime import timedelta
from functools import partial
from typing import Any, Final

from dramatiq import Broker, Message, Middleware, Worker
from dramatiq.middleware import SkipMessage
from sqlalchemy import Engine

from workers.claims import Claims, wait_for
from workers.delivery import Delivery, Outcome, Verdict
from workers.errors import Deferred, DutifulError, KeyConflict, PublishError
from workers.job import Job
from workers.job_broker import JobBroker
from workers.store import outbox
from workers.store.engine import begin
from workers.store.identity import identity_of
from workers.store.readiness import make_ready, packages_of

_UNSENT_PAUSE: Final = timedelta(seconds=5)
_EXIT_NOT_READY: Final = 65

_log = logging.getLogger(__name__)


class Idempotency(Middleware):
    """Runs a job whose key is done no second time. While the store is away, nothing that has a key begins.

    Parameters:
      engine: the store's.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.claims = Claims(engine)

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Take this process's lease; a store that isn't ready ends the process before it consumes anything."""
        assert isinstance(broker, JobBroker)  # noqa: S101  narrows the type
        try:
            make_ready(self.engine, packages_of(broker.actors.values()))
            broker.store_id = identity_of(self.engine)
            self.claims.start()
        except DutifulError as error:
            _log.critical("the store isn't ready: %s", error)
            raise SystemExit(_EXIT_NOT_READY) from None  # Dramatiq logs any other error, and goes on

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Say that this process stops."""
        self.claims.leave()

    def before_consumer_thread_shutdown(self, broker: Broker, thread: Any) -> None:
        """The threads have ended, and the channels are open still: have the last endings recorded."""
        self.claims.flush()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Give the lease up."""
        self.claims.stop()

    def prepare(self, broker: Broker, deliveries: list[Delivery]) -> None:
        """Claim the keys of many jobs in one transaction."""
        self.claims.ask([each for each in deliveries if each.refusal is None and each.job and each.job.key is not None])

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Let it run if it has its key.

        Raises:
          SkipMessage: it is done already, or a newer message has taken its place.
          Deferred: it is running elsewhere, or what an attempt before has stored could not be sent.
          KeyConflict: the key belongs to other arguments.
        """
        assert isinstance(broker, JobBroker)  # noqa: S101  narrows the type
        job = message.job
        assert job is not None  # noqa: S101  CurrentJob stands above in the list
        job.send_left = partial(self._send_what_is_left, broker)
        match job.claim and job.claim.outcome:
            case "run" if job.unsent:
                self._send_what_an_attempt_left(broker, job)
            case "duplicate":
                raise self._duplicate(broker, message, job)
            case "superseded":
                message.outcome = Outcome("superseded", reason="a newer message has taken its place")
                raise SkipMessage("a newer message has taken its place")
            case "running":
                what = f"{job.actor} {job.key} is running elsewhere"
                raise Deferred(what, why="still_running", delay=wait_for(message))
            case "conflict":
                raise KeyConflict(
                    f"the key {job.key} of {job.actor} belongs to a job with other arguments",
                    expected="the arguments that came first, or another key",
                    received=f"message {message.message_id}",
                )

    def _duplicate(self, broker: JobBroker, message: Delivery, job: Job) -> SkipMessage:
        state = job.claim.recorded.state if job.claim and job.claim.recorded else "done"
        if state == "done" and job.group is not None:
            with begin(self.engine) as connection:
                job.hand_on(connection)  # its group waits for this message too
        self._send_what_an_attempt_left(broker, job)
        verdict: Verdict = "canceled" if state == "canceled" else "duplicate"
        message.outcome = Outcome(verdict, reason=f"its key is {state}")
        return SkipMessage(message.outcome.reason)

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """Have what follows from a success stored in the commit that marks it done, and publish it."""
        assert isinstance(broker, JobBroker)  # noqa: S101  narrows the type
        job: Job | None = message.job
        if job is None:
            return
        if message.outcome.verdict == "succeeded" and not job.ended:
            job.prepare(result)
            if job.hands_on and job.key is not None:
                self.claims.end(job, job.ending("done", also=job.hand_on))
            elif job.hands_on:
                with begin(self.engine) as connection:
                    job.hand_on(connection)
        if job.unsent:
            self._send_what_is_left(broker, job)

    def _send_what_an_attempt_left(self, broker: JobBroker, job: Job) -> None:
        try:
            self._send_what_is_left(broker, job)
        except PublishError as error:
            what = f"what {job.actor} {job.key} has committed could not be sent"
            raise Deferred(what, why="unsent", delay=_UNSENT_PAUSE, received=str(error)) from error

    def _send_what_is_left(self, broker: JobBroker, job: Job) -> None:
        """Publish what the job's commits left to be sent, then forget it."""
        actor, key = job.actor, job.sender
        with begin(self.engine) as connection:
            left = outbox.pending(connection, actor, key)
        for each in left:
            broker.publish(Message.decode(each.body), delay=each.delay_ms)
        if left:
            with begin(self.engine) as connection:
                outbox.forget(connection, actor, key, [each.message_id for each in left])
        job.unsent = False
