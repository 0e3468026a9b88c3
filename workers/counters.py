"""The counters of a job are noted by the threads that run it, and added up by one thread at a time.

prometheus_client has one lock for all values of a process. A job would take it a dozen times; eight threads with short
jobs on two cores lose half of what they could do by standing in line for it.

Import it late, as workers.metrics.
"""

import threading
import time
from collections import Counter, deque
from typing import Final, TypeVar

from workers import metrics
from workers.delivery import Outcome

_ATTEMPTS: Final = {"succeeded": "succeeded", "retried": "retried", "dead": "failed", "interrupted": "interrupted"}
_FINISHED: Final = frozenset({"succeeded", "dead", "duplicate", "superseded", "canceled"})
_SECONDS: Final = 0.1

_Note = TypeVar("_Note")


class JobCounters:
    """Every metric of one actor on one queue; each known outcome stands at 0 from the start.

    A note is one `append`, which needs no lock. What a process that is killed has noted and not added up is gone: the
    last tenth of a second, or the last second before it fell idle.
    """

    def __init__(self, queue: str, actor: str) -> None:
        self._job = (queue, actor)
        self._actor = actor
        self.enqueued = metrics.jobs_enqueued.labels(*self._job)
        self.redeliveries = metrics.redeliveries.labels(*self._job)
        self._running = metrics.jobs_running.labels(*self._job)
        self._duration = metrics.job_duration.labels(*self._job)
        self._wait = metrics.job_wait.labels(*self._job)
        self._total = metrics.job_total.labels(*self._job)
        self._attempts = {each: metrics.job_attempts.labels(*self._job, each) for each in _ATTEMPTS.values()}
        self._finished = {each: metrics.jobs_finished.labels(*self._job, each) for each in _FINISHED}
        self._moves: deque[tuple[int, float | None]] = deque()
        self._ends: deque[tuple[Outcome, float, float]] = deque()

    def began(self, waited: float | None) -> None:
        """An attempt begins; `waited` seconds since it was sent, where it is the first."""
        self._moves.append((1, waited))

    def left(self) -> None:
        """It runs no longer."""
        self._moves.append((-1, None))

    def ended(self, outcome: Outcome, took: float, total: float) -> None:
        """How it ended is on record: after `took` seconds, `total` seconds since it was sent."""
        self._ends.append((outcome, took, total))

    def add_up(self) -> None:
        """Show what was noted. By one thread at a time."""
        moves = _taken(self._moves)
        if running := sum(change for change, _ in moves):
            self._running.inc(running)
        self._wait.observe_many([waited for _, waited in moves if waited is not None])
        ends = _taken(self._ends)
        self._duration.observe_many([took for outcome, took, _ in ends if outcome.verdict in _ATTEMPTS])
        self._total.observe_many([total for outcome, _, total in ends if outcome.verdict in _FINISHED])
        for verdict, count in Counter(outcome.verdict for outcome, _, _ in ends).items():
            if verdict in _ATTEMPTS:
                self._attempts[_ATTEMPTS[verdict]].inc(count)
            if verdict in _FINISHED:
                self._finished[verdict].inc(count)
        for outcome, _, _ in ends:
            if outcome.verdict != "succeeded":
                self._count_what_is_rare(outcome)

    def _count_what_is_rare(self, outcome: Outcome) -> None:
        if outcome.verdict == "deferred":
            metrics.jobs_deferred.labels(*self._job, outcome.reason).inc()
        if outcome.verdict == "dead":
            metrics.jobs_dead_lettered.labels(*self._job, outcome.reason).inc()
        if outcome.error is not None and outcome.verdict in {"retried", "dead"}:
            metrics.job_exceptions.labels(self._actor, type(outcome.error).__name__).inc()


def _taken(notes: deque[_Note]) -> list[_Note]:
    """As many notes as there are now: more may come meanwhile."""
    return [notes.popleft() for _ in range(len(notes))]


class Counters:
    """The counters of all actors: looked up once, and not for each job."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], JobCounters] = {}
        self._adding = threading.Lock()
        self._due = 0.0

    def of(self, queue: str, actor: str) -> JobCounters:
        """The counters of one actor."""
        found = self._known.get((queue, actor))
        if found is None:
            found = self._known.setdefault((queue, actor), JobCounters(queue, actor))
        return found

    def add_up(self) -> None:
        """Show what was noted until now."""
        with self._adding:
            for each in list(self._known.values()):
                each.add_up()

    def add_up_now_and_then(self) -> None:
        """The same, unless it was done a moment ago."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _SECONDS
            self.add_up()
