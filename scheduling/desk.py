"""The desk answers an operator's questions about schedules, and takes orders."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Literal

from sqlalchemy import Connection, Engine

from scheduling.cron import ScheduleError
from scheduling.names import manual_key, message_id, next_key, tick_key
from scheduling.schedule import Schedule
from scheduling.ticks import publish
from workers.clock import utcnow
from workers.store import audit, pauses, ticks
from workers.store.engine import begin, now, read_only
from workers.store.pauses import Pause
from workers.store.ticks import Tick

_MOST: Final = 10_000
_FAR: Final = timedelta(days=50 * 366)
_MOMENT: Final = timedelta(microseconds=1)

Step = Literal["run", "run again", "has run", "is open"]


@dataclass(frozen=True)
class State:
    """Where a schedule stands.

    Attributes:
      next_due: without what the jitter adds.
      last: the latest tick that was not skipped; None: there is none yet.
      late_seconds: from its due time until its job began, or until now while it has not.
      pause: what keeps it from running.
    """

    schedule: Schedule
    next_due: datetime
    last: Tick | None
    late_seconds: float | None
    pause: Pause | None


def find(timetable: Iterable[Schedule], name: str) -> Schedule:
    """The schedule of that name.

    Raises:
      ScheduleError: there is none.
    """
    by_name = {schedule.name: schedule for schedule in timetable}
    if name not in by_name:
        raise ScheduleError(f"there is no schedule {name}", expected=f"one of {', '.join(by_name)}", received=name)
    return by_name[name]


def overview(store: Engine, timetable: Iterable[Schedule]) -> list[State]:
    """Where every schedule stands, in the order of the timetable.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with begin(read_only(store)) as connection:
        here = now(connection)
        paused = {each.name: each for each in pauses.read(connection, "schedule") if each.active}
        states = []
        for schedule in timetable:
            last = ticks.last_not_skipped(connection, schedule.name)
            late = None if last is None else ((last.started_at or last.ended_at or here) - last.due_at).total_seconds()
            due = schedule.when.next_valid_date(here - schedule.delay)
            states.append(State(schedule, due, last, late, paused.get(schedule.name)))
    return states


def upcoming(schedule: Schedule, count: int) -> list[datetime]:
    """The next due times."""
    here = utcnow()
    return list(islice(schedule.when.due_between(here, here + _FAR), count))


def history(store: Engine, schedule: Schedule, count: int) -> list[Tick]:
    """The latest ticks, the newest first.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with begin(read_only(store)) as connection:
        return ticks.history(connection, schedule.name, count)


def run(store: Engine, schedule: Schedule, *, reason: str) -> Tick:
    """Have the job run now, beside whatever is due.

    Raises:
      PublishError: it was not, or perhaps not, taken; a scheduler publishes it later.
      StoreUnavailable: the store can't be reached.
    """
    with begin(store) as connection:
        asked_at = now(connection)
        key = manual_key(schedule.name, asked_at)
        ticks.record(connection, schedule.name, asked_at, message_id=message_id(key), key=key, kind="manual")
        _note(connection, "ran schedule", schedule, reason, key)
    tick = Tick(schedule.name, asked_at, asked_at, None, message_id(key), kind="manual", key=key)
    publish(store, schedule, tick)
    return tick


def plan_backfill(
    store: Engine, schedule: Schedule, first: datetime, last: datetime, *, again: bool
) -> list[tuple[datetime, Step]]:
    """What a backfill would do with each due time from one moment to another, both included. Changes nothing.

    Parameters:
      again: run those too that have run.

    Raises:
      ScheduleError: it ends in the future or before it begins, or has too many due times.
      StoreUnavailable: the store can't be reached.
    """
    if not first <= last <= utcnow():
        raise ScheduleError(
            f"{schedule.name} can't be backfilled",
            expected="--from not after --to, and --to not in the future",
            received=f"{first.isoformat()} to {last.isoformat()}",
        )
    due = list(islice(schedule.when.due_between(first - _MOMENT, last), _MOST + 1))
    if len(due) > _MOST:
        raise ScheduleError(
            f"{schedule.name} can't be backfilled at once",
            expected=f"at most {_MOST} due times: a shorter span",
            received=f"more, from {first.isoformat()} to {last.isoformat()}",
        )
    with begin(read_only(store)) as connection:
        known = ticks.recorded_between(connection, schedule.name, first, last)
    return [(each, _step(known.get(each), again=again)) for each in due]


def backfill(store: Engine, schedule: Schedule, steps: Sequence[tuple[datetime, Step]], *, reason: str) -> int:
    """Record what is to run; schedulers publish it, one after the other unless the schedule allows overlap.

    Returns:
      how many were recorded.

    Raises:
      StoreUnavailable: the store can't be reached; nothing was recorded.
    """
    wanted = [due for due, step in steps if step in {"run", "run again"}]
    recorded = 0
    with begin(store) as connection:
        known = ticks.recorded_between(connection, schedule.name, min(wanted), max(wanted)) if wanted else {}
        for due in wanted:
            there = known.get(due)
            if there is None or there.outcome in ticks.SKIPPED:
                key = tick_key(schedule.name, due)
            else:
                key = next_key(schedule.name, due, there.key)
            name, its_id = schedule.name, message_id(key)
            if there is None:
                recorded += ticks.record(connection, name, due, message_id=its_id, key=key, kind="backfill")
            else:
                recorded += ticks.record_again(connection, name, due, message_id=its_id, key=key)
        _note(connection, "backfilled schedule", schedule, reason, f"{recorded} due times")
    return recorded


def _step(known: Tick | None, *, again: bool) -> Step:
    if known is None or known.outcome in ticks.SKIPPED:
        return "run"
    if known.ended_at is None:
        return "is open"
    return "run again" if again else "has run"


def _note(connection: Connection, action: str, schedule: Schedule, reason: str, detail: str) -> None:
    audit.write(connection, who=audit.operator(), action=action, reason=reason, detail=f"{schedule.name}: {detail}")
