"""Vital signs are what a worker process can say of itself beside its jobs: links, store, queues, memory.

Import it late, as workers.metrics.
"""

import os
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from dramatiq.errors import ConnectionClosed
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from workers import metrics
from workers.errors import DutifulError
from workers.store.engine import read_only
from workers.store.identity import identity_of
from workers.transport import topology

if TYPE_CHECKING:
    from workers.rabbitmq import DutifulBroker

_ANSWER_SECONDS: Final = 5.0


class Signs(NamedTuple):
    """What one look has found.

    Attributes:
      ready: why this process can't take jobs now.
      progress: why jobs that wait here don't get on.
    """

    ready: list[str]
    progress: list[str]


class VitalSigns:
    """Looks at one worker process, and shows what it sees as metrics.

    Nothing here is done once a job: it asks RabbitMQ and the store one small question each, with a deadline.

    Parameters:
      broker: this process's.
      engine: the store's.
      threads: how many jobs run at once.
      patience: for each queue, how many seconds may pass without an end of any of its jobs while some wait.
    """

    def __init__(self, broker: "DutifulBroker", engine: Engine, *, threads: int, patience: Mapping[str, float]) -> None:
        self.broker = broker
        self.engine = read_only(engine)
        self.patience = patience
        self._empty = dict.fromkeys(patience, time.time())  # up to when everything has left the queue
        self._moved = dict.fromkeys(patience, time.monotonic())
        self._ended = dict.fromkeys(patience, 0.0)
        self._lost = {"publish": 0, "consume": 0}
        self._stale = 0
        self._asking: threading.Thread | None = None
        self._asked_at, self._problem = 0.0, ""
        metrics.worker_threads.set(threads)
        metrics.worker_start_time.set(time.time())
        for operation in (*self._lost, "send"):
            metrics.broker_errors.labels(operation)

    def look(self) -> Signs:
        """Measure everything once; it raises nothing that an outage causes."""
        metrics.worker_beat.set(time.time())
        metrics.worker_memory.set(_resident_bytes())
        self._count_losses()
        ready = self._look_at_store()
        progress: list[str] = []
        try:
            for queue in self.patience:
                progress += self._look_at_queue(queue)
        except (DutifulError, ConnectionClosed) as error:
            ready.append(f"RabbitMQ doesn't answer: {error}")
        return Signs(ready, progress)

    def _count_losses(self) -> None:
        publisher, intake = self.broker.publisher, self.broker.intake
        metrics.broker_blocked.set(publisher.is_blocked)
        for operation, link in (("publish", publisher.link), ("consume", intake.link)):
            metrics.broker_errors.labels(operation).inc(link.losses - self._lost[operation])
            self._lost[operation] = link.losses
        metrics.stale_settlements.inc(intake.stale_settlements - self._stale)
        self._stale = intake.stale_settlements

    def _look_at_store(self) -> list[str]:
        """Ask in a thread of its own: a database that has fallen silent must not keep the rest from being said."""
        if self._asking is None or not self._asking.is_alive():
            self._asked_at, self._problem = time.monotonic(), ""
            self._asking = threading.Thread(target=self._ask_store, name="dutiful-store-look", daemon=True)
            self._asking.start()
            self._asking.join(_ANSWER_SECONDS)
        if self._asking.is_alive():
            self._problem = f"no answer for {time.monotonic() - self._asked_at:.0f} s"
        return [f"the store can't be used: {self._problem}"] if self._problem else []

    def _ask_store(self) -> None:
        try:
            identity_of(self.engine)
        except (DutifulError, SQLAlchemyError) as error:
            self._problem = " ".join(str(error).split())
        else:
            metrics.store_seconds.labels("look").note(time.monotonic() - self._asked_at)

    def _look_at_queue(self, queue: str) -> list[str]:
        oldest = self.broker.intake.waiting_since(queue)
        now = time.time()
        answer = self.broker.ask(partial(topology.look, queue), _ANSWER_SECONDS)
        waits = answer.method.message_count > 0 or oldest is not None
        if not waits:
            self._empty[queue] = now
        elif oldest is not None:
            # First in, first out: whatever was sent before it has left. A retry is older than the queue's last entries.
            self._empty[queue] = max(self._empty[queue], min(oldest, now))
        metrics.queue_probe.labels(queue).set(self._empty[queue])
        ended = _ended(queue)
        if not waits or ended != self._ended[queue] or queue in self.broker.paused_queues:
            self._moved[queue], self._ended[queue] = time.monotonic(), ended
        still = time.monotonic() - self._moved[queue]
        return [f"jobs wait in {queue} and none has ended for {still:.0f} s"] if still > self.patience[queue] else []


def _ended(queue: str) -> float:
    """How many deliveries of a queue this process has brought to an end."""
    return sum(
        sample.value
        for counter in (metrics.job_attempts, metrics.jobs_finished, metrics.jobs_deferred)
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels["queue"] == queue
    )


def _resident_bytes() -> float:
    """What this process holds in memory; 0 where the system does not tell it this way."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGESIZE")
