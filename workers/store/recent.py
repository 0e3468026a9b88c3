"""Recent tells how the jobs with a key have ended lately, and what still runs; it reads an index, and few rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, func, select

from workers.store import tables
from workers.store.engine import begin, now, outages, read_only
from workers.store.identity import identity_of

LATELY = timedelta(minutes=10)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Recent:
    """What the store knows of the last hour.

    Attributes:
      ended, dead: jobs with a key that ended in the last hour, and how many of them became dead letters.
      ended_lately, dead_lately: the same, of the last ten minutes.
      oldest_tick_seconds: how long a tick that is due has waited to be published; 0: none waits.
      processes: worker processes whose lease is good.
    """

    ended: int
    dead: int
    ended_lately: int
    dead_lately: int
    oldest_tick_seconds: float
    processes: int


def recent(engine: Engine) -> Recent:
    """Count.

    Raises:
      StoreUnavailable: the store can't be reached.
      ConfigurationError: it was not migrated.
    """
    identity_of(engine)
    with outages("the store could not be asked"), begin(read_only(engine)) as connection:
        here = now(connection)
        ended = _ended(connection, here)
        ticks, holders = tables.ticks.c, tables.holders.c
        due = connection.scalar(select(func.min(ticks.due_at)).where(ticks.published_at.is_(None)))
        alive = select(func.count()).select_from(tables.holders).where(holders.expires_at > here)
        return Recent(
            ended=sum(hour for hour, _ in ended.values()),
            dead=ended.get("dead", (0, 0))[0],
            ended_lately=sum(lately for _, lately in ended.values()),
            dead_lately=ended.get("dead", (0, 0))[1],
            oldest_tick_seconds=max(0.0, (here - due).total_seconds()) if due else 0.0,
            processes=connection.scalar(alive) or 0,
        )


def _ended(connection: Connection, here: datetime) -> Mapping[str, tuple[int, int]]:
    """How many are in each last state: of the last hour, and of those the last ten minutes; in one look at both."""
    keys = tables.keys.c
    lately = func.count().filter(keys.updated_at > here - LATELY)
    found = select(keys.state, func.count(), lately).where(
        keys.state.in_(["done", "dead"]), keys.updated_at > here - HOUR
    )
    return {state: (hour, late) for state, hour, late in connection.execute(found.group_by(keys.state))}
