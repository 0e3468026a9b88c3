"""The counters of one actor are looked up once, and every known outcome stands at 0 from then on.

Import it late, as workers.metrics.
"""

from functools import partial

from workers import metrics

_ATTEMPTS = ("succeeded", "retried", "failed", "interrupted")
_FINISHED = ("succeeded", "dead", "duplicate", "superseded", "canceled")


class JobCounters:
    """Every metric of one actor on one queue."""

    def __init__(self, queue: str, actor: str) -> None:
        job = (queue, actor)
        self.enqueued = metrics.jobs_enqueued.labels(*job)
        self.redeliveries = metrics.redeliveries.labels(*job)
        self.running = metrics.jobs_running.labels(*job)
        self.duration = metrics.job_duration.labels(*job)
        self.wait = metrics.job_wait.labels(*job)
        self.total = metrics.job_total.labels(*job)
        self.attempts = {outcome: metrics.job_attempts.labels(*job, outcome) for outcome in _ATTEMPTS}
        self.finished = {outcome: metrics.jobs_finished.labels(*job, outcome) for outcome in _FINISHED}
        self.deferred = partial(metrics.jobs_deferred.labels, *job)
        self.dead_lettered = partial(metrics.jobs_dead_lettered.labels, *job)
        self.exceptions = partial(metrics.job_exceptions.labels, actor)
