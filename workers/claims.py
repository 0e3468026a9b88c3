"""Claims are asked for many at a time, and given back when their jobs have ended."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

from sqlalchemy import Engine

from workers.delivery import Delivery, Outcome
from workers.endings import Endings, store_took
from workers.errors import ClaimLost, KeyInHand, StoreUnavailable
from workers.job import Job
from workers.store import batches
from workers.store.engine import begin, relaxed
from workers.store.holders import Holder
from workers.store.keys import Claim, Ending, Request

_FIRST_WAIT: Final = timedelta(milliseconds=100)
_LONGEST_WAIT: Final = timedelta(seconds=30)

_log = logging.getLogger(__name__)


class Claims:
    """The keys that this process holds: its lease, its claims, and the thread that records their endings.

    Parameters:
      engine: the store's.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._holder: Holder | None = None
        self._endings = Endings(engine)

    def start(self) -> None:
        """Take this process's lease.

        Raises:
          StoreUnavailable: the store can't be reached.
        """
        self._holder = Holder.register(self._engine, _note)
        self._holder.start()
        self._endings = Endings(self._engine)
        self._endings.start()

    def leave(self) -> None:
        """Say that this process stops: what it leaves open did not kill it."""
        if self._holder is not None:
            self._holder.leave()

    def flush(self) -> None:
        """Wait, a few seconds at most, until every ending is recorded."""
        self._endings.flush()

    def stop(self) -> None:
        """Record what is left, and give the lease up."""
        self._endings.stop()
        if self._holder is not None:
            self._holder.release()

    def ask(self, deliveries: list[Delivery]) -> None:
        """Claim the keys of many jobs in one transaction; what comes of it is in their jobs.

        While the store is away, and where a thread of this process has the key already, a delivery is refused.
        """
        asking = [each for each in deliveries if self._reserve(each)]
        if not asking:
            return
        asked = time.monotonic()
        try:
            with begin(relaxed(self._engine)) as connection:  # a claim that is lost harms nobody
                requests = [_request(each) for each in asking]
                claims = batches.claim(connection, requests, holder=self._holder_id, cautious=self._is_cautious)
        except BaseException as error:
            for each in asking:
                self._held.discard(_name(each))
            if not isinstance(error, StoreUnavailable):
                raise
            for each in asking:
                each.refusal = error
            return
        store_took("claim", time.monotonic() - asked)
        for each, claim in zip(asking, claims, strict=True):
            self._claimed(each, claim)

    def end(self, job: Job, ending: Ending) -> None:
        """Have an ending recorded, and wait for that.

        Raises:
          ClaimLost: another process has taken the job over.
          StoreUnavailable: the process ends, and the store is away.
        """
        self._endings.record(ending)
        job.ended = True

    def _reserve(self, delivery: Delivery) -> bool:
        """Whether no thread of this process has the key; a channel that was lost may bring the message here again."""
        with self._lock:
            if _name(delivery) in self._held:
                what = f"{delivery.actor_name} {_name(delivery)[1]} is running here"
                delivery.refusal = KeyInHand(what, why="still_running", delay=wait_for(delivery))
                return False
            self._held.add(_name(delivery))
            return True

    def _claimed(self, delivery: Delivery, claim: Claim) -> None:
        _job(delivery).claimed(claim, self._holder_id)
        if claim.outcome == "run":
            delivery.record = self._record
        else:
            self._held.discard(_name(delivery))

    def _record(self, delivery: Delivery, conclude: Callable[[Delivery], None]) -> None:
        """Have it recorded how the attempt ended; one that never began gives its claim back."""
        ending = _ending(delivery)
        if ending is None:
            self._recorded(delivery, conclude, None)
        else:
            self._endings.add(ending, partial(self._recorded, delivery, conclude))

    def _recorded(self, delivery: Delivery, conclude: Callable[[Delivery], None], error: Exception | None) -> None:
        # Whatever happened, it runs here no longer: its next delivery may claim it.
        self._held.discard(_name(delivery))
        if error is not None:
            _log.warning("%s; its message %s is handed back", error, delivery.message_id)
            reason = "claim_lost" if isinstance(error, ClaimLost) else "not_recorded"
            delivery.settled, delivery.outcome = False, Outcome("interrupted", reason=reason, error=error)
        conclude(delivery)

    @property
    def _is_cautious(self) -> bool:
        return self._holder is not None and self._holder.is_cautious

    @property
    def _holder_id(self) -> str:
        if self._holder is None:
            raise StoreUnavailable("this process has no lease", expected="a worker that has booted")
        return self._holder.id


def _note(is_up: bool) -> None:
    from workers import metrics  # noqa: PLC0415  not before share()

    metrics.store_up.set(int(is_up))


def wait_for(delivery: Delivery) -> timedelta:
    """When to look again for a key that is running.

    Mostly its ending is about to be recorded: a second look soon, and fewer and fewer after it.
    """
    deferrals = int(delivery.options.get("deferrals", 0))
    return min(_FIRST_WAIT * (1 << min(deferrals, 10)), _LONGEST_WAIT)


def _job(delivery: Delivery) -> Job:
    assert delivery.job is not None  # noqa: S101  CurrentJob stands above in the list
    return delivery.job


def _name(delivery: Delivery) -> tuple[str, str]:
    job = _job(delivery)
    return job.actor, job.key or ""


def _request(delivery: Delivery) -> Request:
    job = _job(delivery)
    return Request(job.actor, job.key or "", job.id, job.arguments_hash, job.attempt, job.generation)


def _ending(delivery: Delivery) -> Ending | None:
    job, verdict = _job(delivery), delivery.outcome.verdict if delivery.outcome is not None else "interrupted"
    if verdict == "superseded" or job.ended:
        return None  # it is another's, or recorded already
    match verdict:
        case "succeeded":
            return job.ending("done")
        case "dead":
            return job.ending("dead")
        case "retried":
            return job.ending("waiting", attempt=job.attempt + 1)
        case _:
            return job.ending("waiting")
