"""Idempotency lets a job take effect once: it claims the job's key before, and records how the attempt ended after."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, TypeVar

from dramatiq import Broker, Message, Middleware, Worker
from dramatiq.middleware import SkipMessage
from sqlalchemy import Connection, Engine

from workers.delivery import Delivery, Outcome, Verdict
from workers.errors import Deferred, DutifulError, KeyConflict, StoreUnavailable
from workers.hooks import JobBroker
from workers.job import Job
from workers.store import keys, outbox
from workers.store.engine import begin
from workers.store.holders import Holder
from workers.store.identity import identity_of
from workers.store.readiness import make_ready, packages_of

T = TypeVar("T")

_PATIENCE: Final = timedelta(seconds=30)
_PROBE_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 30
_EXIT_NOT_READY: Final = 65

_log = logging.getLogger(__name__)


class Idempotency(Middleware):
    """Runs a job whose key is done no second time.

    While the store is away nothing runs unprotected: threads wait for it, and after half a minute put their jobs back.

    Parameters:
      engine: the store's.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.holder: Holder | None = None
        self._running: set[tuple[str, str]] = set()
        self._stopping = threading.Event()

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Take this process's lease; a store that isn't ready ends the process before it consumes anything."""
        assert isinstance(broker, JobBroker)  # noqa: S101  narrows the type
        self._stopping.clear()
        try:
            make_ready(self.engine, packages_of(broker.actors.values()))
            broker.store_id = identity_of(self.engine)
            self.holder = Holder.register(self.engine)
            self.holder.start()
        except DutifulError as error:
            _log.critical("the store isn't ready: %s", error)
            raise SystemExit(_EXIT_NOT_READY) from None  # Dramatiq logs any other error, and goes on

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Let no thread wait for the store any longer."""
        self._stopping.set()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Give the lease up."""
        if self.holder is not None:
            self.holder.release()

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Claim the job's key.

        Raises:
          SkipMessage: it is done already, or a newer message has taken its place.
          Deferred: it is running elsewhere.
          KeyConflict: the key belongs to other arguments.
          StoreUnavailable: nobody can tell.
        """
        assert isinstance(broker, JobBroker)  # noqa: S101  narrows the type
        job = message.job
        assert job is not None  # noqa: S101  CurrentJob stands above in the list
        if job.key is None:
            return
        claim = self._patiently(lambda connection: self._claim(connection, job))
        match claim.outcome:
            case "run":
                job.claimed(claim, self._holder_id)
                self._running.add((job.actor, job.key))
            case "duplicate":
                self._send_what_is_left(broker, job)
                state = claim.recorded.state if claim.recorded is not None else "done"
                verdict: Verdict = "canceled" if state == "canceled" else "duplicate"
                message.outcome = Outcome(verdict, reason=f"its key is {state}")
                raise SkipMessage(message.outcome.reason)
            case "superseded":
                message.outcome = Outcome("superseded", reason="a newer message has taken its place")
                raise SkipMessage("a newer message has taken its place")
            case "running":
                wait = min(2 ** message.options.get("deferrals", 0), _LONGEST_WAIT_SECONDS)
                raise Deferred(f"{job.actor} {job.key} is running", why="still_running", delay=timedelta(seconds=wait))
            case "conflict":
                raise KeyConflict(
                    f"the key {job.key} of {job.actor} belongs to a job with other arguments",
                    expected="the arguments that came first, or another key",
                    received=f"message {message.message_id}",
                )

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """Record how it ended."""
        job: Job | None = message.job
        if job is None or job.key is None or job.claim is None:
            return
        assert isinstance(broker, JobBroker)  # noqa: S101  narrows the type
        mark: dict[str, Any] = {
            "actor": job.actor,
            "key": job.key,
            "holder": job.holder,
            "fence": job.claim.fence,
        }
        try:
            match message.outcome.verdict:
                case "succeeded" if not job.ended:
                    self._patiently(lambda connection: keys.complete(connection, **mark))
                case "succeeded":
                    self._send_what_is_left(broker, job)
                case "retried":
                    self._patiently(lambda connection: keys.wait(connection, **mark, attempt=job.attempt + 1))
                case "dead":
                    self._patiently(lambda connection: keys.bury(connection, **mark))
                case "deferred" | "interrupted" | "canceled":
                    self._patiently(lambda connection: keys.release(connection, **mark))
        finally:
            # Whatever happened, it runs here no longer: its next delivery may claim it.
            self._running.discard((job.actor, job.key))

    @property
    def _holder_id(self) -> str:
        if self.holder is None:
            raise StoreUnavailable("this process has no lease", expected="a worker that has booted")
        return self.holder.id

    def _claim(self, connection: Connection, job: Job) -> keys.Claim:
        assert job.key is not None  # noqa: S101  narrows the type
        return keys.claim(
            connection,
            actor=job.actor,
            key=job.key,
            message_id=job.id,
            arguments_hash=job.arguments_hash,
            attempt=job.attempt,
            generation=job.generation,
            holder=self._holder_id,
            mine=lambda actor, key: (actor, key) in self._running,
        )

    def _send_what_is_left(self, broker: JobBroker, job: Job) -> None:
        """Publish what the job's commit left to be sent, then forget it."""
        actor, key = job.actor, job.key
        assert key is not None  # noqa: S101  narrows the type
        left = self._patiently(lambda connection: outbox.pending(connection, actor, key))
        for each in left:
            broker.publish(Message.decode(each.body), delay=each.delay_ms)
        if left:
            sent = [each.message_id for each in left]
            self._patiently(lambda connection: outbox.forget(connection, actor, key, sent))

    def _patiently(self, act: Callable[[Connection], T]) -> T:
        """Do it in a transaction of its own; while the store is away, wait for it, but not for ever."""
        deadline = time.monotonic() + _PATIENCE.total_seconds()
        while True:
            try:
                with begin(self.engine) as connection:
                    return act(connection)
            except StoreUnavailable:
                if time.monotonic() > deadline or self._stopping.wait(_PROBE_SECONDS):
                    raise
