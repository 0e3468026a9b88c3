"""The counters of a job are noted by the threads that run it, and added up by one thread at a time.

prometheus_client has one lock for all values of a process. A job would take it a dozen times; eight threads with short
jobs on two cores lose half of what they could do by standing in line for it.

Import it late, as workers.metrics.
"""

import threading
import time
from collections import defaultdict, deque
from typing import Any, Final, get_args

from workers import metrics
from workers.delivery import Delivery, Outcome, Reason
from workers.histogram import taken

_ATTEMPTS: Final = {"succeeded": "succeeded", "retried": "retried", "dead": "failed", "interrupted": "interrupted"}
_FINISHED: Final = frozenset({"succeeded", "dead", "duplicate", "superseded", "canceled"})
_WHYS: Final = ("still_running", "store_unavailable", "paused", "hook_failed", "no_child", "unsent")
_NOT_COUNTED: Final = frozenset({"undecodable", "unknown_actor"})  # they never came to one of our actors
_STORE: Final = ("claim", "end", "look")
_SECONDS: Final = 0.1
_MOST_ACTORS: Final = 500
_MOST_EXCEPTIONS: Final = 50
OTHER: Final = "_other"

_End = tuple[Outcome, float, float, int, int]  # seconds it took, seconds since it was sent, tries, calls


class Names:
    """Names that become the values of a label: so many in a process, and `_other` for the rest."""

    def __init__(self, label: str, most: int) -> None:
        self._seen: set[Any] = set()
        self._most = most
        self._overflows = metrics.label_overflows.labels(label)

    def may_be_shown(self, name: Any) -> bool:
        """Whether it has a place; it keeps it."""
        if name not in self._seen and len(self._seen) >= self._most:
            self._overflows.inc()
            return False
        self._seen.add(name)
        return True


class JobCounters:
    """Every metric of one actor on one queue; each known outcome, reason and why stands at 0 from the start.

    A note is one `append`, which needs no lock. What a process that is killed has noted and not added up is gone: the
    last tenth of a second, or the last second before it fell idle.
    """

    def __init__(self, queue: str, actor: str, exceptions: Names) -> None:
        self._job = (queue, actor)
        self._actor = actor
        self._exceptions = exceptions
        self.enqueued = metrics.jobs_enqueued.labels(*self._job)
        self.redeliveries = metrics.redeliveries.labels(*self._job)
        self._running = metrics.jobs_running.labels(*self._job)
        self._duration = metrics.job_duration.labels(*self._job)
        self._wait = metrics.job_wait.labels(*self._job)
        self._total = metrics.job_total.labels(*self._job)
        self._needed = metrics.attempts_needed.labels(*self._job)
        self._calls = metrics.database_calls.labels(actor)
        self._attempts = {each: metrics.job_attempts.labels(*self._job, each) for each in _ATTEMPTS.values()}
        self._finished = {each: metrics.jobs_finished.labels(*self._job, each) for each in _FINISHED}
        for why in _WHYS:
            metrics.jobs_deferred.labels(*self._job, why)
        for reason in set(get_args(Reason)) - _NOT_COUNTED:
            metrics.jobs_dead_lettered.labels(*self._job, reason)
        self._begun: deque[float | None] = deque()
        self._left: deque[None] = deque()
        self._ends: deque[_End] = deque()

    def began(self, waited: float | None) -> None:
        """An attempt begins; `waited` seconds since it was sent, where it is the first."""
        self._begun.append(waited)

    def left(self) -> None:
        """It runs no longer."""
        self._left.append(None)

    def ended(self, delivery: Delivery, outcome: Outcome, total: float) -> None:
        """How it ended is on record, `total` seconds since it was sent."""
        self._ends.append((outcome, delivery.took, total, delivery.attempt, delivery.database_calls))

    def add_up(self) -> None:
        """Show what was noted. By one thread at a time."""
        left, begun = taken(self._left), taken(self._begun)  # in this order: whoever has left has begun
        if running := len(begun) - len(left):
            self._running.inc(running)
        self._wait.observe_many([waited for waited in begun if waited is not None])
        ended = defaultdict[str, list[_End]](list)
        for each in taken(self._ends):
            ended[each[0].verdict].append(each)
        for verdict, ends in ended.items():
            self._add_up_ends(verdict, ends)

    def _add_up_ends(self, verdict: str, ends: list[_End]) -> None:
        outcomes, took, total, tries, calls = zip(*ends, strict=True)
        if verdict in _ATTEMPTS:
            self._attempts[_ATTEMPTS[verdict]].inc(len(ends))
            self._duration.observe_many(took)
            self._calls.observe_many(calls)
        if verdict in _FINISHED:
            self._finished[verdict].inc(len(ends))
            self._total.observe_many(total)
        if verdict in _ATTEMPTS and verdict in _FINISHED:
            self._needed.observe_many(tries)
        if verdict != "succeeded":
            for outcome in outcomes:
                self._count_what_is_rare(outcome)

    def _count_what_is_rare(self, outcome: Outcome) -> None:
        if outcome.verdict == "deferred":
            metrics.jobs_deferred.labels(*self._job, outcome.reason).inc()
        if outcome.verdict == "dead":
            metrics.jobs_dead_lettered.labels(*self._job, outcome.reason).inc()
        if outcome.error is not None and outcome.verdict in {"retried", "dead"}:
            name = type(outcome.error).__name__
            shown = name if self._exceptions.may_be_shown(name) else OTHER
            metrics.job_exceptions.labels(self._actor, shown).inc()


class Counters:
    """The counters of all actors: looked up once, and not for each job."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], JobCounters] = {}
        self._actors = Names("actor", _MOST_ACTORS)
        self._exceptions = Names("exception", _MOST_EXCEPTIONS)
        self._store = [metrics.store_seconds.labels(operation) for operation in _STORE]
        self._adding = threading.Lock()
        self._due = 0.0

    def of(self, queue: str, actor: str) -> JobCounters:
        """The counters of one actor. Services may send to any number of others: from some number on they share one."""
        found = self._known.get((queue, actor))
        if found is not None:
            return found
        if not self._actors.may_be_shown((queue, actor)):
            queue = actor = OTHER
        return self._known.setdefault((queue, actor), JobCounters(queue, actor, self._exceptions))

    def add_up(self) -> None:
        """Show what was noted until now."""
        with self._adding:
            for each in list(self._known.values()):
                each.add_up()
            for operation in self._store:
                operation.add_up()

    def add_up_now_and_then(self) -> None:
        """The same, unless it was done a moment ago."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _SECONDS
            self.add_up()
