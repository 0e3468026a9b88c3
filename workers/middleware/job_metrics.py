"""JobMetrics counts what happens to jobs, and lets Prometheus read it."""

import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dramatiq import Broker, Message, Middleware

from workers import exposition
from workers.declaration import Actor
from workers.delivery import Delivery
from workers.job_broker import JobBroker
from workers.transport.subscription import Depth

if TYPE_CHECKING:
    from workers.counters import JobCounters

_OUTCOMES = frozenset({"succeeded", "dead", "duplicate", "superseded", "canceled"})
_ATTEMPTS = {"succeeded": "succeeded", "retried": "retried", "dead": "failed", "interrupted": "interrupted"}


class JobMetrics(Middleware):
    """The counters, gauges and histograms of jobs; workers.metrics names them.

    Parameters:
      host, port: where /metrics and /health are served, once for all processes of one `dramatiq` command.
      directory: where the processes leave their counters; None: a folder of this command's own.
      environment: development, staging or production.
    """

    def __init__(self, *, host: str, port: int, directory: Path | None, environment: str) -> None:
        self.host = host
        self.port = port
        self.directory = directory
        self.environment = environment
        self.beat: exposition.Beat | None = None
        self._counters: dict[tuple[str, str], JobCounters] = {}

    @property
    def forks(self) -> list[Callable[[], int]]:
        """Dramatiq runs these beside its workers; each lives by itself, so that a busy worker can't silence it."""
        return [exposition.serve_workers]

    def after_process_boot(self, broker: Broker) -> None:
        """Share this worker's counters, and show every known label at 0."""
        exposition.share(self.directory or exposition.default_directory(os.getppid()))
        from workers import metrics  # noqa: PLC0415  not before share()

        metrics.build_info.labels(version("dutiful"), self.environment).set(1)
        for actor in broker.actors.values():
            owner = actor.card.owner if isinstance(actor, Actor) else ""
            metrics.actor_info.labels(actor.actor_name, actor.queue_name, owner).set(1)
            self._of(actor.queue_name, actor.actor_name)

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        """Say how far each queue is fetched ahead, and beat where somebody listens: in a `dramatiq` command."""
        from workers import metrics  # noqa: PLC0415  not before share()

        for queue in broker.get_declared_queues():
            depth = Depth.of(worker.worker_threads, short=isinstance(broker, JobBroker) and broker.is_short(queue))
            metrics.queue_prefetch.labels(queue).set(depth.fetched)
        if exposition.is_shared():
            self.beat = exposition.Beat(worker)
            self.beat.start()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Leave in order: a beat that stops without this is a death."""
        if self.beat is not None:
            self.beat.stop()

    def after_enqueue(self, broker: Broker, message: Message[Any], delay: Any) -> None:
        """Count a message that was sent."""
        self._of(message.queue_name, message.actor_name).enqueued.inc()

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Begin to count an attempt."""
        job = self._of(message.queue_name, message.actor_name)
        message.counted = True
        job.running.inc()
        if message.redelivered:
            job.redeliveries.inc()
        if message.attempt == 1 and not message.options.get("deferrals"):
            job.wait.observe(max(0, time.time() - message.message_timestamp / 1000))

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """It runs no longer."""
        if message.counted:
            self._of(message.queue_name, message.actor_name).running.dec()

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """It runs no longer."""
        if message.counted:
            self._of(message.queue_name, message.actor_name).running.dec()

    def ended(self, broker: Broker, message: Delivery) -> None:
        """Count how it ended."""
        outcome = message.outcome
        assert outcome is not None  # noqa: S101  what has no outcome has not ended
        job = self._of(message.queue_name, message.actor_name)
        if outcome.verdict in _ATTEMPTS:
            job.attempts[_ATTEMPTS[outcome.verdict]].inc()
            job.duration.observe(message.took)
        if outcome.verdict in _OUTCOMES:
            job.finished[outcome.verdict].inc()
            job.total.observe(max(0, time.time() - message.message_timestamp / 1000))
        if outcome.verdict == "deferred":
            job.deferred(outcome.reason).inc()
        if outcome.verdict == "dead":
            job.dead_lettered(outcome.reason).inc()
        if outcome.error is not None and outcome.verdict in {"retried", "dead"}:
            job.exceptions(type(outcome.error).__name__).inc()

    def _of(self, queue: str, actor: str) -> "JobCounters":
        """The counters of one actor: looked up once, and not for each job."""
        found = self._counters.get((queue, actor))
        if found is None:
            from workers.counters import JobCounters  # noqa: PLC0415  not before share()

            found = self._counters[queue, actor] = JobCounters(queue, actor)
        return found
