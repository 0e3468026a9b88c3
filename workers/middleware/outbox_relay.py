"""OutboxRelay empties the store's outbox from a thread of the worker."""

import logging
import threading
import time
from typing import Any, Final

from dramatiq import Broker, Middleware
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from workers.bulk import BulkSending
from workers.errors import DutifulError
from workers.relay import Counts, Relay

_MEASURE_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 15.0

_log = logging.getLogger(__name__)


class OutboxRelay(Middleware):
    """Publishes what services and ended jobs have stored to be sent, and measures what waits.

    Every worker process looks; one of them does the work. A broker in memory has no other process to hear from, so
    there nothing is relayed.

    Parameters:
      engine: the store's.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        """Begin to relay and to measure."""
        if not isinstance(broker, BulkSending):
            return
        self._stopping.clear()
        relay = Relay(self.engine, broker, is_store=True, told=count)
        count(Counts())
        self._threads = [
            threading.Thread(target=relay.run, args=(self._stopping,), name="dutiful-relay", daemon=True),
            threading.Thread(target=measure, args=(relay, self._stopping), name="dutiful-outbox-depth", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def before_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Let the batch in hand be the last."""
        self._stopping.set()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Wait for it, while the connection to the broker is there."""
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = []


def count(done: Counts) -> None:
    """Count what a relay has done."""
    from workers import metrics  # noqa: PLC0415  not before share()

    metrics.outbox_relayed.inc(done.relayed)
    metrics.outbox_failures.labels("set_aside").inc(done.set_aside)
    metrics.outbox_failures.labels("not_taken").inc(done.not_taken)


def measure(relay: Relay, stopping: threading.Event) -> None:
    """Show every ten seconds how much waits, until stopped."""
    from workers import metrics  # noqa: PLC0415  not before share()

    while True:
        try:
            depth = relay.depth()
        except (DutifulError, SQLAlchemyError) as error:
            _log.debug("the outbox can't be counted now: %s", error)  # the relay says it aloud
        else:
            metrics.outbox_waiting.set(depth.rows)
            metrics.outbox_oldest.set(depth.oldest_seconds)
            metrics.outbox_set_aside.set(depth.set_aside)
        if stopping.wait(_MEASURE_SECONDS):
            return
