"""Purging removes what nobody needs any more, in small batches, so that no worker waits for it.

What stays, however old: keys that wait, run or are dead, keys with messages still to publish, a schedule's latest tick.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Select, Table, delete, exists, func, select, tuple_

from workers.store import tables
from workers.store.engine import begin, now, outages, read_only, relaxed

ENDED: Final = ("done", "discarded", "canceled")
TICKS_KEPT: Final = timedelta(days=90)
AUDIT_KEPT: Final = timedelta(days=365)
PAUSES_KEPT: Final = timedelta(days=30)  # after their end: a worker that was away so long finds what is parked
# On SQLite everybody else waits for a batch, and looks again in steps that grow: it must be short, and seldom.
BATCH: Final = {"postgresql": 500, "sqlite": 100}
_REST: Final = {"postgresql": 1.0, "sqlite": 4.0}
_SHORTEST_PAUSE: Final = 0.01


@dataclass(frozen=True)
class _Kind:
    """Rows of one table that may go: in the order of `since`, which never changes while a row is there."""

    name: str
    table: Table
    since: ColumnElement[datetime]
    unneeded: ColumnElement[bool]

    @property
    def wanted(self) -> Select[Any]:
        return select(*self.table.primary_key.columns, self.since.label("since")).where(self.unneeded)


def purge(
    engine: Engine,
    *,
    key_ttl: timedelta,
    batch: int | None = None,
    progress: Callable[[Mapping[str, int]], None] = lambda _: None,
) -> dict[str, int]:
    """Remove ended keys, answered requests, expired leases, published ticks and old lines of the audit trail.

    It rests after each batch for as long as the batch took, on SQLite longer. Stopped at any moment, it has removed
    whole batches.

    Parameters:
      key_ttl: for how long the key of a job that has ended is kept; a message that comes later would run again.
      batch: rows in one transaction; None: what suits the database.
      progress: told after each batch how many rows of each table are gone.

    Returns:
      how many rows of each table were removed.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    kinds = _kinds(engine, key_ttl)
    removed = dict.fromkeys((each.name for each in kinds), 0)
    for kind in kinds:
        for count in _batches(engine, kind, batch or BATCH[engine.dialect.name]):
            removed[kind.name] += count
            progress(removed)
    return removed


def purgeable(engine: Engine, *, key_ttl: timedelta) -> dict[str, int]:
    """How many rows of each table a purge would remove now.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    removable: dict[str, int] = {}
    kinds = _kinds(engine, key_ttl)
    with outages("old rows could not be counted"), begin(read_only(engine)) as connection:
        for kind in kinds:
            counted = select(func.count()).select_from(kind.table).where(kind.unneeded)
            removable[kind.name] = removable.get(kind.name, 0) + connection.execute(counted).scalar_one()
    return removable


def _kinds(engine: Engine, key_ttl: timedelta) -> list[_Kind]:
    with outages("the store's time could not be read"), begin(read_only(engine)) as connection:
        here = now(connection)
    keys, holders, ticks, newer = tables.keys.c, tables.holders.c, tables.ticks.c, tables.ticks.alias("newer")
    groups, requests = tables.groups.c, tables.requests.c
    unsent = exists().where(tables.outbox.c.actor == keys.actor, tables.outbox.c.key == keys.key)
    named = exists().where(keys.state.in_(("running", "canceled")), keys.holder == holders.id)
    overtaken = exists().where(newer.c.schedule == ticks.schedule, newer.c.due_at > ticks.due_at)
    return [
        # A state each: the index on state and time then gives the oldest rows first, without sorting.
        *(
            _Kind(
                "keys",
                tables.keys,
                keys.updated_at,
                (keys.state == state) & (keys.updated_at < here - key_ttl) & ~unsent,
            )
            for state in ENDED
        ),
        _Kind("groups", tables.groups, groups.completed_at, groups.completed_at < here - key_ttl),
        _Kind("requests", tables.requests, requests.created_at, requests.created_at < here - key_ttl),
        _Kind("holders", tables.holders, holders.expires_at, (holders.expires_at < here) & ~named),
        _Kind("ticks", tables.ticks, ticks.due_at, (ticks.published_at < here - TICKS_KEPT) & overtaken),
        _Kind("pauses", tables.pauses, tables.pauses.c.until, tables.pauses.c.until < here - PAUSES_KEPT),
        _Kind("audit", tables.audit, tables.audit.c.at, tables.audit.c.at < here - AUDIT_KEPT),
    ]


def _batches(engine: Engine, kind: _Kind, size: int) -> Iterator[int]:
    """Remove rows batch by batch, and tell how many each time."""
    oldest: datetime | None = None
    while True:
        with begin(relaxed(engine)) as connection, outages("old rows could not be removed"):
            began = time.monotonic()  # from here on, on SQLite, everybody else waits
            rows = connection.execute(_next(kind, oldest).limit(size)).all()
            _remove(connection, kind.table, [tuple(row)[:-1] for row in rows])
        if rows:
            yield len(rows)
        if len(rows) < size:
            return
        oldest = rows[-1].since  # what lies before is gone, or locked: to look there again would cost more each time
        time.sleep(max(_SHORTEST_PAUSE, (time.monotonic() - began) * _REST[engine.dialect.name]))


def _next(kind: _Kind, oldest: datetime | None) -> Select[Any]:
    wanted = kind.wanted.order_by(kind.since)
    if oldest is not None:
        wanted = wanted.where(kind.since >= oldest)
    # SQLite has no locks of rows, and leaves this out: there the transaction has the write lock.
    return wanted.with_for_update(skip_locked=True, of=kind.table)


def _remove(connection: Connection, table: Table, identities: list[tuple[Any, ...]]) -> None:
    if identities:
        connection.execute(delete(table).where(tuple_(*table.primary_key.columns).in_(identities)))
