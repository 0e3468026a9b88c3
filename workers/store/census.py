"""The census counts what the store holds."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, select

from workers.store import tables
from workers.store.engine import begin, moment, outages, read_only


@dataclass(frozen=True)
class Group:
    """Rows of one kind.

    Attributes:
      what: the table, and the state of its rows where they have one.
      oldest: since when the oldest of them is like this; None: there are none.
    """

    what: str
    rows: int
    oldest: datetime | None


def census(engine: Engine) -> list[Group]:
    """How many keys are in each state, messages wait in the outbox, processes are alive, and so on.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    keys, ticks, holders = tables.keys.c, tables.ticks.c, tables.holders.c
    with outages("the store could not be counted"), begin(read_only(engine)) as connection:
        states = select(keys.state, func.count(), func.min(keys.updated_at)).group_by(keys.state).order_by(keys.state)
        found = [Group(f"keys {state}", rows, oldest) for state, rows, oldest in connection.execute(states)]
        here = moment(connection)
        counted = {
            "outbox waiting": select(func.count(), func.min(tables.outbox.c.created_at)),
            "ticks published": select(func.count(), func.min(ticks.due_at)).where(ticks.published_at.is_not(None)),
            "ticks waiting": select(func.count(), func.min(ticks.due_at)).where(ticks.published_at.is_(None)),
            "holders alive": select(func.count(), func.min(holders.beat_at)).where(holders.expires_at > here),
            "holders expired": select(func.count(), func.min(holders.beat_at)).where(holders.expires_at <= here),
            "gateway requests": select(func.count(), func.min(tables.requests.c.created_at)),
            "audit lines": select(func.count(), func.min(tables.audit.c.at)),
        }
        return found + [_group(connection, what, statement) for what, statement in counted.items()]


def _group(connection: Connection, what: str, statement: Select[int, Any]) -> Group:
    rows, oldest = connection.execute(statement).one()
    return Group(what, rows, oldest)
