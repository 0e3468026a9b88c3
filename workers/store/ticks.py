"""A tick's row makes each due time of a schedule one job, however many schedulers there are."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from workers.store import tables
from workers.store.engine import insert_unless_there, moment, now, outages


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


def last_due(connection: Connection, name: str) -> datetime | None:
    """The latest due time on record.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.ticks.c
    with outages(f"ticks of {name} could not be read"):
        latest: datetime | None = connection.scalar(select(func.max(columns.due_at)).where(columns.schedule == name))
    return latest


def record(connection: Connection, name: str, due_at: datetime, message_id: str) -> bool:
    """Take the tick. False: another scheduler has it.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with outages(f"a tick of {name} could not be recorded"):
        tick = {"schedule": name, "due_at": due_at, "message_id": message_id, "recorded_at": moment(connection)}
        return insert_unless_there(connection, tables.ticks, tick)


def unpublished(connection: Connection, names: Collection[str]) -> list[tuple[str, datetime, str]]:
    """Ticks of these schedules, as (name, due time, message id), that the broker has not confirmed; the oldest first.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.ticks.c
    with outages("ticks to publish could not be read"):
        rows = connection.execute(
            select(columns.schedule, columns.due_at, columns.message_id)
            .where(columns.published_at.is_(None), columns.schedule.in_(names))
            .order_by(columns.due_at, columns.schedule)
        ).all()
    return [(row.schedule, row.due_at, row.message_id) for row in rows]


def published(connection: Connection, name: str, due_at: datetime) -> None:
    """The broker has confirmed the tick's message.

    Raises:
      StoreUnavailable: the store can't be reached; it will be published again, under the same id.
    """
    columns = tables.ticks.c
    with outages(f"a tick of {name} could not be recorded as published"):
        connection.execute(
            update(tables.ticks)
            .where(columns.schedule == name, columns.due_at == due_at, columns.published_at.is_(None))
            .values(published_at=moment(connection))
        )
