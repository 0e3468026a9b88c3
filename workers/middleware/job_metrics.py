"""JobMetrics counts what happens to jobs, and lets Prometheus read it."""

import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dramatiq import Broker, Message, Middleware

from workers import exposition
from workers.declaration import Actor
from workers.delivery import Delivery

_OUTCOMES = ("succeeded", "dead", "duplicate", "superseded", "canceled")
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
            job = (actor.queue_name, actor.actor_name)
            owner = actor.card.owner if isinstance(actor, Actor) else ""
            metrics.actor_info.labels(actor.actor_name, actor.queue_name, owner).set(1)
            metrics.jobs_enqueued.labels(*job)
            metrics.redeliveries.labels(*job)
            metrics.jobs_running.labels(*job)
            for each in (metrics.job_duration, metrics.job_wait, metrics.job_total):
                each.labels(*job)
            for outcome in _OUTCOMES:
                metrics.jobs_finished.labels(*job, outcome)
            for outcome in _ATTEMPTS.values():
                metrics.job_attempts.labels(*job, outcome)

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        """Begin to beat, where somebody listens: in a process that the `dramatiq` command started."""
        if exposition.is_shared():
            self.beat = exposition.Beat(worker)
            self.beat.start()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Leave in order: a beat that stops without this is a death."""
        if self.beat is not None:
            self.beat.stop()

    def after_enqueue(self, broker: Broker, message: Message[Any], delay: Any) -> None:
        """Count a message that was sent."""
        from workers import metrics  # noqa: PLC0415  not before share()

        metrics.jobs_enqueued.labels(message.queue_name, message.actor_name).inc()

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Begin to count an attempt."""
        from workers import metrics  # noqa: PLC0415  not before share()

        job = (message.queue_name, message.actor_name)
        message.counted = True
        metrics.jobs_running.labels(*job).inc()
        if message.redelivered:
            metrics.redeliveries.labels(*job).inc()
        if message.attempt == 1 and not message.options.get("deferrals"):
            metrics.job_wait.labels(*job).observe(max(0, time.time() - message.message_timestamp / 1000))

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """Count how it ended."""
        self._count(message)

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """Count how it ended."""
        self._count(message)

    def _count(self, message: Delivery) -> None:
        from workers import metrics  # noqa: PLC0415  not before share()

        if not message.counted:
            return
        job = (message.queue_name, message.actor_name)
        metrics.jobs_running.labels(*job).dec()
        outcome = message.outcome
        if outcome is None:
            return
        if outcome.verdict in _ATTEMPTS:
            metrics.job_attempts.labels(*job, _ATTEMPTS[outcome.verdict]).inc()
            metrics.job_duration.labels(*job).observe(time.monotonic() - message.began)
        if outcome.verdict in _OUTCOMES:
            metrics.jobs_finished.labels(*job, outcome.verdict).inc()
            metrics.job_total.labels(*job).observe(max(0, time.time() - message.message_timestamp / 1000))
        if outcome.verdict == "deferred":
            metrics.jobs_deferred.labels(*job, outcome.reason).inc()
        if outcome.verdict == "dead":
            metrics.jobs_dead_lettered.labels(*job, outcome.reason).inc()
        if outcome.error is not None and outcome.verdict in {"retried", "dead"}:
            metrics.job_exceptions.labels(message.actor_name, type(outcome.error).__name__).inc()
