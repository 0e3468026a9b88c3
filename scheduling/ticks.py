"""The tick engine turns due times into jobs, and tells what became of them."""

import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from scheduling import metrics
from scheduling.checkins import CheckIns
from scheduling.look import Look, look
from scheduling.names import tick_key
from scheduling.schedule import Schedule
from scheduling.watch import Watch
from workers.clock import utcnow
from workers.errors import DutifulError
from workers.store import ticks, turns
from workers.store.engine import begin
from workers.store.ticks import Tick

_PATIENCE_SECONDS: Final = 5.0
_TURN: Final = timedelta(seconds=30)  # above what publishing takes at one look
_SILENT_AFTER_SECONDS: Final = 60.0  # far above what a call takes while the broker and the store are away

_Id = tuple[str, datetime]


class TickEngine:
    """Turns due times into jobs, beside any number of other schedulers on the same store.

    A tick is recorded first, by one scheduler only, and then published. It is published once; only when one dies
    between publishing and noting so, or when publishing takes so long that another takes it over, it is published again
    under the same id and key, and the key keeps the second from running.

    What is due while this scheduler is at work is recorded, however late: because the store was away, say. What passed
    while none was at work is treated as its schedule says. Nothing from before a schedule was first seen, or its spec
    changed, is made up for. What was recorded while the broker was away is published when it is back, all of it.

    Parameters:
      engine: the store.
      timetable: the schedules, each with a name of its own.
      clock: the time now, aware.
      checkins: who is told what begins and ends.
    """

    def __init__(
        self,
        engine: Engine,
        timetable: Sequence[Schedule],
        clock: Callable[[], datetime] = utcnow,
        checkins: CheckIns | None = None,
    ) -> None:
        self._engine = engine
        self._schedules = {schedule.name: schedule for schedule in timetable}
        self._clock = clock
        self._checkins = checkins
        self._watch = Watch()
        self._log = structlog.stdlib.get_logger("dutiful.schedules")
        self._me = str(uuid.uuid4())
        self._waiting: set[_Id] = set()  # recorded, not yet published, as the last call left it
        self._problems = ["the timetable has not been looked at yet"]
        self._looked_at = time.monotonic()
        for name, schedule in self._schedules.items():
            metrics.schedule_info.labels(name, schedule.actor.actor_name, schedule.owner).set(1)
            for why in ticks.SKIPPED:
                metrics.schedule_skipped.labels(name, why)

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
        self._watch.look(now)
        try:
            with begin(self._engine) as connection:
                found = look(connection, self._schedules.values(), now=now, watched_since=self._watch.since)
                left = self._left_by_others(connection, found)
        except Exception as error:  # noqa: BLE001  whatever it is, the scheduler must live to try again
            self._problems = [self._failed(error, step="record")]
            return
        self._tell(found)
        ours = left | set(found.recorded)
        waiting = {_id(tick) for tick in found.waiting}
        self._problems = self._publish_all([tick for tick in found.waiting if _id(tick) in ours], waiting)
        self._waiting = waiting
        self._show(now, found)

    def _left_by_others(self, connection: Connection, found: Look) -> set[_Id]:
        """Ticks to publish that an earlier look has recorded: another scheduler died, or the broker was away.

        What another has just recorded is its to publish: it must be there for the second time. And one scheduler at a
        time looks after them, so that not each of them publishes all when the broker is back.
        """
        left = self._waiting & {_id(tick) for tick in found.waiting}
        return left if left and turns.take(connection, "ticks", self._me, _TURN) else set()

    def _tell(self, found: Look) -> None:
        """Say what was recorded, left out, and has ended."""
        for name, due in found.recorded:
            self._log.info("tick_recorded", schedule=name, due_at=due.isoformat())
        for name, why, count in found.skipped:
            metrics.schedule_skipped.labels(name, why).inc(count)
            self._log.warning("ticks_skipped", schedule=name, why=why, count=count)
        for tick in found.ended:
            self._log.info("tick_ended", schedule=tick.schedule, due_at=tick.due_at.isoformat(), outcome=tick.outcome)
            if self._checkins is not None:
                self._checkins.ended(self._schedules[tick.schedule], tick)

    def _publish_all(self, ready: Sequence[Tick], waiting: set[_Id]) -> list[str]:
        """Publish what is ready, and strike it from what waits; return what went wrong."""
        problems = []
        started = time.monotonic()
        for tick in ready:
            try:
                self._publish(tick)
                waiting.discard(_id(tick))
            except Exception as error:  # noqa: BLE001  whatever it is, the other schedules must go on
                problems.append(self._failed(error, step="publish", schedule=tick.schedule))
            if time.monotonic() - started > _PATIENCE_SECONDS:
                # The broker is away, and each tick waits for its own deadline. New ones must be recorded meanwhile.
                break
        return problems

    def _publish(self, tick: Tick) -> None:
        schedule = self._schedules[tick.schedule]
        publish(self._engine, schedule, tick)
        self._log.info(
            "tick_published", schedule=tick.schedule, due_at=tick.due_at.isoformat(), message_id=tick.message_id
        )
        if self._checkins is not None:
            self._checkins.published(schedule, tick)

    def _show(self, now: datetime, found: Look) -> None:
        """Set the metrics: a tick that waits for the broker stays the next that is due."""
        for name, schedule in self._schedules.items():
            due = schedule.when.next_valid_date(now - schedule.delay)
            waiting = {tick.due_at for tick in found.waiting if tick.schedule == name and tick.kind == "scheduled"}
            still = {each for each in waiting if (name, each) in self._waiting}
            metrics.schedule_next_due.labels(name).set((min(still, default=due) + schedule.delay).timestamp())
            following = schedule.when.next_valid_date(due)
            metrics.schedule_interval.labels(name).set((following - due).total_seconds())
            published = max([*(waiting - still), *filter(None, [found.published.get(name)])], default=None)
            for metric, moment in (
                (metrics.schedule_last_published, published),
                (metrics.schedule_last_succeeded, found.succeeded.get(name)),
            ):
                metric.labels(name).set(moment.timestamp() if moment else 0)

    def _failed(self, error: Exception, **where: str) -> str:
        """Log what the next call tries again; an error that nobody foresaw shows where it comes from."""
        said = f"{type(error).__name__}: {error}"
        self._log.error("tick_failed", error=said, exc_info=not isinstance(error, DutifulError), **where)
        return said


def publish(engine: Engine, schedule: Schedule, tick: Tick) -> None:
    """Send the job of a tick that is recorded, and note that the broker has confirmed it.

    Raises:
      PublishError: it was not, or perhaps not, taken; publishing it again can't double the job.
      StoreUnavailable: it was, and that could not be noted; it will be published again, under the same id.
    """
    key = tick.key or tick_key(tick.schedule, tick.due_at)
    schedule.actor.send_with_options(kwargs=dict(schedule.arguments), key=key, message_id=tick.message_id)
    with begin(engine) as connection:
        ticks.published(connection, tick, schedule.actor.actor_name, key)


def _id(tick: Tick) -> _Id:
    return tick.schedule, tick.due_at
