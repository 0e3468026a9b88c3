"""The tick engine records what is due, then publishes it."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, Engine

from scheduling import metrics
from scheduling.schedule import Schedule
from workers.clock import utcnow
from workers.errors import DutifulError
from workers.store import ticks
from workers.store.engine import begin

_NAMESPACE = uuid.UUID("8eba097e-3b73-42e7-9467-3c7bcaac163c")  # never changes: message ids come from it
_PATIENCE_SECONDS = 5.0
_SILENT_AFTER_SECONDS = 60.0  # far above what a call takes while the broker and the store are away


class Tick(NamedTuple):
    """One due time of a schedule."""

    schedule: str
    due_at: datetime

    @property
    def key(self) -> str:
        """What makes two messages of this tick one job."""
        return f"{self.schedule}@{self.due_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

    @property
    def message_id(self) -> str:
        """The same in every scheduler, and again after a crash."""
        return str(uuid.uuid5(_NAMESPACE, self.key))


class TickEngine:
    """Turns due times into jobs, beside any number of other schedulers on the same store.

    A tick is recorded first, by one scheduler only, and then published. It is published once; only when one dies
    between publishing and noting so, when two find the broker back in the same moment, or when publishing takes so long
    that another takes it over, it is published again under the same id and key, and the key keeps the second from
    running.

    Of the due times that passed while no scheduler ran, the latest is made up for and the ones before it are left out.
    Nothing from before a schedule was first seen, or its cron changed, is made up for. What was recorded while the
    broker was away is published when it is back, all of it.

    Parameters:
      engine: the store.
      timetable: the schedules, each with a name of its own.
      clock: the time now, aware.
    """

    def __init__(self, engine: Engine, timetable: Sequence[Schedule], clock: Callable[[], datetime] = utcnow) -> None:
        self._engine = engine
        self._schedules = {schedule.name: schedule for schedule in timetable}
        self._clock = clock
        self._log = structlog.stdlib.get_logger("dutiful.schedules")
        self._waiting: set[Tick] = set()  # recorded, not yet published, as the last call left it
        self._problems = ["the timetable has not been looked at yet"]
        self._looked_at = time.monotonic()

    def problems(self) -> list[str]:
        """Why ticks may be late: what went wrong in the last call, or that it is long ago; empty when all is well."""
        silent = time.monotonic() - self._looked_at
        if silent > _SILENT_AFTER_SECONDS:
            return [*self._problems, f"the timetable was looked at {silent:.0f} s ago"]
        return self._problems

    def run_once(self) -> None:
        """Record and publish what is due now.

        It never raises. While the store or the broker is away it says so in the log, and the next call goes on.
        """
        now, self._looked_at = self._clock(), time.monotonic()
        try:
            with begin(self._engine) as connection:
                mine = self._record(connection, now)
                waiting = {Tick(name, due) for name, due, _ in ticks.unpublished(connection, self._schedules)}
                latest = {name: ticks.last_due(connection, name) for name in self._schedules}
        except Exception as error:  # noqa: BLE001  whatever it is, the scheduler must live to try again
            self._problems = [self._failed(error, step="record")]
            return
        for tick in mine:
            self._log.info("tick_recorded", schedule=tick.schedule, due_at=tick.due_at.isoformat())
        # A tick that another scheduler has just recorded is its to publish, and ours when it is still there next time.
        ready = waiting & (self._waiting | mine)
        self._problems = self._publish_all(sorted(ready, key=lambda tick: (tick.due_at, tick.schedule)), waiting)
        self._waiting = waiting
        self._show(now, latest)

    def _record(self, connection: Connection, now: datetime) -> set[Tick]:
        """Take the ticks that are due and that no other scheduler has taken."""
        taken = set()
        for name, schedule in self._schedules.items():
            since = ticks.first_seen(connection, name, str(schedule.cron))
            last = ticks.last_due(connection, name)
            due = schedule.cron.latest_due(max(since, last) if last else since, now)
            if due is not None:
                tick = Tick(name, due)
                if ticks.record(connection, name, due, tick.message_id):
                    taken.add(tick)
        return taken

    def _publish_all(self, ready: Sequence[Tick], waiting: set[Tick]) -> list[str]:
        """Publish what is ready, and strike it from what waits; return what went wrong."""
        problems = []
        started = time.monotonic()
        for tick in ready:
            try:
                self._publish(tick)
                waiting.discard(tick)
            except Exception as error:  # noqa: BLE001  whatever it is, the other schedules must go on
                problems.append(self._failed(error, step="publish", schedule=tick.schedule))
            if time.monotonic() - started > _PATIENCE_SECONDS:
                # The broker is away, and each tick waits for its own deadline. New ones must be recorded meanwhile.
                break
        return problems

    def _publish(self, tick: Tick) -> None:
        schedule = self._schedules[tick.schedule]
        schedule.actor.send_with_options(kwargs=dict(schedule.arguments), key=tick.key, message_id=tick.message_id)
        with begin(self._engine) as connection:
            ticks.published(connection, tick.schedule, tick.due_at)
        self._log.info(
            "tick_published", schedule=tick.schedule, due_at=tick.due_at.isoformat(), message_id=tick.message_id
        )

    def _show(self, now: datetime, latest: Mapping[str, datetime | None]) -> None:
        """Set the metrics: a tick that waits for the broker stays the next that is due."""
        for name, schedule in self._schedules.items():
            waiting = [tick.due_at for tick in self._waiting if tick.schedule == name]
            due = min(waiting, default=schedule.cron.next_valid_date(now))
            metrics.schedule_next_due.labels(name).set(due.timestamp())
            done = latest[name]
            published = metrics.schedule_last_published.labels(name)
            if done is not None and done not in waiting:
                published.set(done.timestamp())

    def _failed(self, error: Exception, **where: str) -> str:
        """Log what the next call tries again; an error that nobody foresaw shows where it comes from."""
        said = f"{type(error).__name__}: {error}"
        self._log.error("tick_failed", error=said, exc_info=not isinstance(error, DutifulError), **where)
        return said
