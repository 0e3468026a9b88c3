"""JobMetrics counts what happens to jobs, and lets Prometheus read it."""

import logging
import os
import time
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dramatiq import Broker, Message, Middleware

from workers import exposition
from workers.database_calls import count_database_calls
from workers.declaration import Actor
from workers.delivery import Delivery
from workers.job_broker import JobBroker
from workers.transport.subscription import Depth

if TYPE_CHECKING:
    from workers.counters import Counters

_log = logging.getLogger(__name__)


class JobMetrics(Middleware):
    """The counters, gauges and histograms of jobs; workers.metrics names them.

    Parameters:
      host, port: where /metrics and /health are served, once for all processes of one `dramatiq` command.
      directory: where the processes leave their counters; None: a folder of this command's own.
      environment: development, staging or production.
      revision: which revision of the code runs.
    """

    def __init__(self, *, host: str, port: int, directory: Path | None, environment: str, revision: str) -> None:
        self.host = host
        self.port = port
        self.directory = directory
        self.environment = environment
        self.revision = revision
        self.beat: exposition.Beat | None = None

    @cached_property
    def counters(self) -> "Counters":
        """What is counted, in the process that this is."""
        from workers.counters import Counters  # noqa: PLC0415  not before share()

        return Counters()

    @property
    def forks(self) -> list[Callable[[], int]]:
        """Dramatiq runs these beside its workers; each lives by itself, so that a busy worker can't silence it."""
        return [exposition.serve_workers]

    def after_process_boot(self, broker: Broker) -> None:
        """Share this worker's counters, and show every known label at 0.

        Raises:
          SystemExit: they can't be shared; a worker that nobody sees is worse than none.
        """
        try:
            exposition.share(self.directory or exposition.default_directory(os.getppid()))
        except OSError as error:
            _log.critical("metrics can't be shared (%s); set DUTIFUL_METRICS__DIRECTORY to a folder of its own", error)
            raise SystemExit(1) from None  # as Python ends on a setting that can't be used
        from workers import metrics  # noqa: PLC0415  not before share()

        count_database_calls()
        metrics.build_info.labels(version("dutiful"), self.revision, self.environment).set(1)
        for actor in broker.actors.values():
            owner = actor.card.owner if isinstance(actor, Actor) else ""
            metrics.actor_info.labels(actor.actor_name, actor.queue_name, owner).set(1)
            self.counters.of(actor.queue_name, actor.actor_name)

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        """Say how far each queue is fetched ahead, and beat where somebody listens: in a `dramatiq` command."""
        from workers import metrics  # noqa: PLC0415  not before share()

        for queue in broker.get_declared_queues():
            depth = Depth.of(worker.worker_threads, short=isinstance(broker, JobBroker) and broker.is_short(queue))
            metrics.queue_prefetch.labels(queue).set(depth.fetched)
        if exposition.is_shared():
            self.beat = exposition.Beat(worker, self.counters.add_up)
            self.beat.start()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Leave in order: a beat that stops without this is a death."""
        self.counters.add_up()
        if self.beat is not None:
            self.beat.stop()

    def after_enqueue(self, broker: Broker, message: Message[Any], delay: Any) -> None:
        """Count a message that was sent."""
        self.counters.of(message.queue_name, message.actor_name).enqueued.inc()

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Begin to count an attempt."""
        counters = message.counters = self.counters.of(message.queue_name, message.actor_name)
        is_first = message.attempt == 1 and not message.options.get("deferrals")
        counters.began(_age(message) if is_first else None)
        if message.redelivered:
            counters.redeliveries.inc()

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """It runs no longer."""
        if message.counters is not None:
            message.counters.left()

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """It runs no longer."""
        if message.counters is not None:
            message.counters.left()

    def ended(self, broker: Broker, message: Delivery) -> None:
        """Count how it ended."""
        assert message.outcome is not None  # noqa: S101  what has no outcome has not ended
        counters = message.counters or self.counters.of(message.queue_name, message.actor_name)
        counters.ended(message, message.outcome, _age(message))
        self.counters.add_up_now_and_then()


def _age(message: Delivery) -> float:
    """Seconds since it was sent, by a clock that may be another machine's."""
    return max(0.0, time.time() - message.message_timestamp / 1000)
