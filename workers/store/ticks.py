"""A tick's row makes each due time of a schedule one job, however many schedulers there are, and says how that ended.

recorded ──▶ published ──▶ started ──▶ ended (succeeded, dead, discarded, canceled; unknown when nobody can tell)
└─ ended at once: skipped, and the outcome says why
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, update

from workers.store import tables
from workers.store.engine import insert_unless_there, moment, now, outages

Kind = Literal["scheduled", "manual", "backfill"]
Why = Literal["missed", "overlap", "paused"]
SKIPPED: Final[tuple[Why, ...]] = ("missed", "overlap", "paused")


@dataclass(frozen=True)
class Tick:
    """A row. One that was skipped was never published: `published_at` is when that was decided, `outcome` is why."""

    schedule: str
    due_at: datetime
    recorded_at: datetime
    published_at: datetime | None
    message_id: str
    kind: Kind = "scheduled"
    actor: str | None = None
    key: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None


def first_seen(connection: Connection, name: str, spec: str) -> datetime:
    """Since when the schedule has had this spec: now, for a new one and for one that was changed.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    schedules = tables.schedules
    with outages(f"schedule {name} could not be recorded"):
        time = now(connection)
        if insert_unless_there(connection, schedules, {"name": name, "spec": spec, "first_seen_at": time}):
            return time
        row = connection.execute(select(schedules).where(schedules.c.name == name).with_for_update()).one()
        if row.spec == spec:
            seen: datetime = row.first_seen_at
            return seen
        connection.execute(update(schedules).where(schedules.c.name == name).values(spec=spec, first_seen_at=time))
        return time


def latest(connection: Connection, name: str, *also: ColumnElement[bool]) -> Tick | None:
    """The latest tick by due time, skipped or not; those that an operator asked for don't count.

    Parameters:
      also: what else it must fulfil.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.ticks.c
    wanted = select(tables.ticks).where(columns.schedule == name, columns.kind == "scheduled", *also)
    with outages(f"ticks of {name} could not be read"):
        row = connection.execute(wanted.order_by(columns.due_at.desc()).limit(1)).one_or_none()
    return None if row is None else _tick(row)


def last_published(connection: Connection, name: str) -> Tick | None:
    """The latest tick that the broker has confirmed. Errors as `latest`."""
    return latest(connection, name, tables.ticks.c.published_at.is_not(None), _not_skipped())


def last_succeeded(connection: Connection, name: str) -> Tick | None:
    """The latest tick whose job has succeeded. Errors as `latest`."""
    return latest(connection, name, tables.ticks.c.outcome == "succeeded")


def last_not_skipped(connection: Connection, name: str) -> Tick | None:
    """The latest tick that was published or will be. Errors as `latest`."""
    return latest(connection, name, _not_skipped())


def record(
    connection: Connection,
    name: str,
    due_at: datetime,
    *,
    message_id: str,
    key: str,
    kind: Kind = "scheduled",
    skipped: Why | None = None,
) -> bool:
    """Take the tick. False: another scheduler has it.

    Parameters:
      skipped: why it is not to be published; None: it is.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with outages(f"a tick of {name} could not be recorded"):
        time = moment(connection)
        tick = {"schedule": name, "due_at": due_at, "message_id": message_id, "key": key, "kind": kind}
        # A scheduler of an older release publishes what has no time of publishing, whatever else its row says.
        ended = {} if skipped is None else {"published_at": time, "ended_at": time, "outcome": skipped}
        return insert_unless_there(connection, tables.ticks, tick | {"recorded_at": time} | ended)


def record_again(connection: Connection, name: str, due_at: datetime, *, message_id: str, key: str) -> bool:
    """Let a tick that has ended be published once more, or at last. What became of it before is forgotten.

    Returns:
      False: it has not ended.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.ticks.c
    forgotten = dict.fromkeys(("published_at", "started_at", "ended_at", "outcome", "actor"))
    with outages(f"a tick of {name} could not be recorded again"):
        told = {"message_id": message_id, "key": key, "recorded_at": moment(connection)}
        ended = columns.ended_at.is_not(None)
        changed = connection.execute(update(tables.ticks).where(_is(name, due_at), ended).values(told | forgotten))
    return changed.rowcount == 1


def unended(connection: Connection, names: Collection[str]) -> list[Tick]:
    """Ticks of these schedules that wait, or whose job does or runs; the oldest first.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.ticks.c
    with outages("ticks could not be read"):
        rows = connection.execute(
            select(tables.ticks)
            .where(columns.ended_at.is_(None), columns.schedule.in_(names))
            .order_by(columns.due_at, columns.schedule)
        ).all()
    return [_tick(row) for row in rows]


def published(connection: Connection, tick: Tick, actor: str, key: str) -> None:
    """The broker has confirmed the tick's message.

    Raises:
      StoreUnavailable: the store can't be reached; it will be published again, under the same id.
    """
    columns = tables.ticks.c
    with outages(f"a tick of {tick.schedule} could not be recorded as published"):
        connection.execute(
            update(tables.ticks)
            .where(_is(tick.schedule, tick.due_at), columns.message_id == tick.message_id)
            .where(columns.published_at.is_(None))
            .values(published_at=moment(connection), actor=actor, key=key)
        )


def history(connection: Connection, name: str, count: int) -> list[Tick]:
    """The latest ticks by due time, of every kind, the newest first.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.ticks.c
    with outages(f"ticks of {name} could not be read"):
        rows = connection.execute(
            select(tables.ticks).where(columns.schedule == name).order_by(columns.due_at.desc()).limit(count)
        ).all()
    return [_tick(row) for row in rows]


def recorded_between(connection: Connection, name: str, first: datetime, last: datetime) -> dict[datetime, Tick]:
    """The ticks on record from one due time to another, both included, by due time.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.ticks.c
    with outages(f"ticks of {name} could not be read"):
        rows = connection.execute(
            select(tables.ticks).where(columns.schedule == name, columns.due_at.between(first, last))
        ).all()
    return {row.due_at: _tick(row) for row in rows}


def _not_skipped() -> ColumnElement[bool]:
    return func.coalesce(tables.ticks.c.outcome, "").not_in(SKIPPED)


def _is(schedule: str, due_at: datetime) -> ColumnElement[bool]:
    return and_(tables.ticks.c.schedule == schedule, tables.ticks.c.due_at == due_at)


def _tick(row: Row[Any]) -> Tick:
    return Tick(**dict(row._mapping))  # noqa: SLF001  public in all but name
