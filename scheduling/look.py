"""A look records, in one transaction, what is due and what has become of what was due before."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from scheduling import policy
from scheduling.names import message_id, tick_key
from scheduling.schedule import Schedule
from workers.store import pauses, tick_outcomes, ticks
from workers.store.ticks import Tick


@dataclass
class Look:
    """What was found and recorded.

    Attributes:
      recorded: ticks that this look has taken.
      skipped: schedule, why, and how many due times.
      ended: ticks whose jobs have ended since somebody last looked.
      waiting: ticks to be published.
      published: the latest due time that is published, by schedule.
      succeeded: when the latest job that has succeeded did so, by schedule.
    """

    recorded: list[tuple[str, datetime]] = field(default_factory=list)
    skipped: list[tuple[str, ticks.Why, int]] = field(default_factory=list)
    ended: list[Tick] = field(default_factory=list)
    waiting: list[Tick] = field(default_factory=list)
    published: dict[str, datetime] = field(default_factory=dict)
    succeeded: dict[str, datetime] = field(default_factory=dict)


def look(connection: Connection, schedules: Iterable[Schedule], *, now: datetime, watched_since: datetime) -> Look:
    """Take the ticks that are due and that no other scheduler has taken.

    Parameters:
      watched_since: what was due from then on is late, and not missed.

    Raises:
      StoreUnavailable: the store can't be reached; nothing was recorded.
    """
    by_name = {schedule.name: schedule for schedule in schedules}
    found = Look(ended=tick_outcomes.settle(connection, by_name))
    paused = {each.name: each for each in pauses.read(connection, "schedule")}
    for name, schedule in by_name.items():
        # First of all, because it locks the schedule: schedulers take turns.
        since = ticks.first_seen(connection, name, str(schedule.when))
        last = ticks.latest(connection, name)
        before = ticks.unended(connection, [name])
        planned = policy.plan(
            schedule,
            since=max(since, last.due_at) if last else since,
            watched_since=watched_since - schedule.delay,
            now=now - schedule.delay,
            unended=sum(_holds_up(tick, schedule, now) for tick in before),
            pause=paused.get(name),
        )
        _record(connection, name, planned, found)
        unended = ticks.unended(connection, [name]) if planned.ticks else before
        found.waiting += _ready(schedule, unended, now)
        _remember(connection, name, found)
    found.waiting.sort(key=lambda tick: (tick.due_at, tick.schedule))
    return found


def _record(connection: Connection, name: str, planned: policy.Plan, found: Look) -> None:
    for n, (due, why) in enumerate(planned.ticks):
        key = tick_key(name, due)
        taken = ticks.record(connection, name, due, message_id=message_id(key), key=key, skipped=why)
        if not taken:
            continue
        if why is None:
            found.recorded.append((name, due))
        else:
            found.skipped.append((name, why, 1))
        if n == 0 and planned.left_out:
            found.skipped.append((name, planned.why, planned.left_out))


def _ready(schedule: Schedule, unended: list[Tick], now: datetime) -> list[Tick]:
    """Those to be published now: unless the schedule allows overlap, one after the other."""
    held = False
    ready = []
    for tick in unended:
        if tick.published_at is None and (tick.kind == "manual" or not held):
            ready.append(tick)
        held = held or (schedule.overlap != "allow" and _holds_up(tick, schedule, now))
    return ready


def _holds_up(tick: Tick, schedule: Schedule, now: datetime) -> bool:
    """Whether others must wait for it. What an operator has run now runs beside them."""
    since = tick.published_at
    return tick.kind != "manual" and (since is None or since + schedule.max_open > now)


def _remember(connection: Connection, name: str, found: Look) -> None:
    published, succeeded = ticks.last_published(connection, name), ticks.last_succeeded(connection, name)
    if published is not None:
        found.published[name] = published.due_at
    if succeeded is not None and succeeded.ended_at is not None:
        found.succeeded[name] = succeeded.ended_at
