"""A pause keeps an actor, a queue or a schedule from going on until somebody resumes it, or until its time is over.

A row stays after its end, so that a process that was away or held up meanwhile learns of it, until it is purged.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from workers.store import audit, tables
from workers.store.engine import insert_unless_there, moment, now, outages

Kind = Literal["actor", "queue", "schedule"]


@dataclass(frozen=True)
class Pause:
    """What is paused, or was.

    Attributes:
      until: when it ends, or has ended; None: when somebody resumes it.
      active: it has not ended, by the store's clock.
    """

    kind: Kind
    name: str
    reason: str
    who: str
    since: datetime
    until: datetime | None
    active: bool


def pause(
    connection: Connection, kind: Kind, name: str, *, reason: str, until: datetime | None, who: str | None = None
) -> None:
    """Pause it, or change reason and end of a pause.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    who = who or audit.operator()
    with outages(f"the {kind} {name} could not be paused"):
        said = {"reason": reason, "who": who, "since": moment(connection), "until": until}
        if not insert_unless_there(connection, tables.pauses, {"kind": kind, "name": name, **said}):
            connection.execute(update(tables.pauses).where(_is(kind, name)).values(said))
    lasts = "until resumed" if until is None else f"until {until.isoformat(timespec='seconds')}"
    audit.write(connection, who=who, action=f"paused {kind}", reason=reason, detail=f"{name}, {lasts}")


def resume(connection: Connection, kind: Kind, name: str, *, who: str | None = None) -> bool:
    """End a pause. False: it was not paused.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with outages(f"the {kind} {name} could not be resumed"):
        time = now(connection)
        ends = or_(tables.pauses.c.until.is_(None), tables.pauses.c.until > time)
        ended = connection.execute(update(tables.pauses).where(_is(kind, name), ends).values(until=time)).rowcount
    if ended:
        audit.write(connection, who=who or audit.operator(), action=f"resumed {kind}", reason="", detail=name)
    return bool(ended)


def read(connection: Connection, kind: Kind | None = None) -> list[Pause]:
    """Every pause, those that have ended too.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.pauses.c
    with outages("pauses could not be read"):
        time = now(connection)
        wanted = select(tables.pauses)
        if kind is not None:
            wanted = wanted.where(columns.kind == kind)
        rows = connection.execute(wanted.order_by(columns.kind, columns.name)).all()
    return [Pause(**dict(row._mapping), active=row.until is None or row.until > time) for row in rows]  # noqa: SLF001


def _is(kind: Kind, name: str) -> ColumnElement[bool]:
    return and_(tables.pauses.c.kind == kind, tables.pauses.c.name == name)
