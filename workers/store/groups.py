"""A group counts its members as they succeed, and says once that all of them have.

    create ──count, count …──▶ complete: the callbacks, once
       └ open: expect, expect … close ──┘

The caller owns the transaction: it is the one that marks the member done, so that neither happens without the other.
A member is counted once, however often it is delivered. One that fails keeps its group waiting until it is replayed.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select, update

from workers.errors import StoreError
from workers.store import tables
from workers.store.engine import insert_unless_there, moment, outages
from workers.store.outbox import Outgoing

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a group is: how many members it has, how many have succeeded, and whether more may come."""

    expected: int
    counted: int
    open: bool
    completed_at: datetime | None


def create(
    connection: Connection,
    group_id: str,
    size: int,
    callbacks: Sequence[Outgoing] = (),
    *,
    open: bool = False,  # noqa: A002  its word
) -> bool:
    """Register a group before its members are sent; one that is there stays as it is.

    Parameters:
      size: how many members it has; of an open group, how many so far.
      callbacks: what is sent when all have succeeded.
      open: more members may come, until `close`.

    Returns:
      whether it is new.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with outages("a group could not be registered"):
        row = {
            "id": group_id,
            "expected": size,
            "counted": 0,
            "open": open,
            "callbacks": json.dumps([[each.message_id, each.body.decode(), each.delay_ms] for each in callbacks]),
            "created_at": moment(connection),
        }
        return insert_unless_there(connection, tables.groups, row)


def expect(connection: Connection, group_id: str, more: int = 1) -> None:
    """An open group has so many members more.

    Raises:
      StoreError: it is not open.
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.groups.c
    with outages("a group could not be extended"):
        change = update(tables.groups).where(columns.id == group_id, columns.open)
        if connection.execute(change.values(expected=columns.expected + more)).rowcount == 1:
            return
        found = find(connection, group_id)
    raise StoreError(
        f"group {group_id} can't get more members", expected="an open group", received=str(found or "no such group")
    )


def close(connection: Connection, group_id: str) -> list[Outgoing]:
    """No more members come. Returns the callbacks, if all of them have succeeded already; closing again does nothing.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with outages("a group could not be closed"):
        row = _locked(connection, group_id)
        if row is None or not row.open:
            return []
        return _settle(connection, row, counted=row.counted, open=False)


def count(connection: Connection, group_id: str, member_id: str, callbacks: Sequence[Outgoing] = ()) -> list[Outgoing]:
    """A member has succeeded.

    Parameters:
      member_id: its message's id.
      callbacks: what the member itself says is to follow: Dramatiq's groups keep their callbacks in each member.

    Returns:
      the callbacks, the registered ones first, if it was the last member that was missing; else nothing.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with outages("a member of a group could not be counted"):
        row = _locked(connection, group_id)
        if row is None:
            _log.warning("group %s is not known to this store: its member %s is not counted", group_id, member_id)
            return []
        member = {"group_id": group_id, "member_id": member_id}
        if row.completed_at is not None or not insert_unless_there(connection, tables.group_members, member):
            return []
        return _settle(connection, row, counted=row.counted + 1, open=row.open, callbacks=callbacks)


def find(connection: Connection, group_id: str) -> Progress | None:
    """How far a group is, if it is known.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.groups.c
    query = select(columns.expected, columns.counted, columns.open, columns.completed_at)
    with outages("a group could not be read"):
        row = connection.execute(query.where(columns.id == group_id)).one_or_none()
    return None if row is None else Progress(*row)


def _locked(connection: Connection, group_id: str) -> Any:
    """The group's row, held until the commit: of two last members exactly one sees the other."""
    return connection.execute(
        select(tables.groups).where(tables.groups.c.id == group_id).with_for_update()
    ).one_or_none()


def _settle(
    connection: Connection,
    row: Any,
    *,
    counted: int,
    open: bool,  # noqa: A002  its word
    callbacks: Sequence[Outgoing] = (),
) -> list[Outgoing]:
    complete = not open and counted >= row.expected
    values: dict[str, Any] = {"counted": counted, "open": open}
    if complete:
        values["completed_at"] = moment(connection)
        members = tables.group_members
        connection.execute(delete(members).where(members.c.group_id == row.id))
    connection.execute(update(tables.groups).where(tables.groups.c.id == row.id).values(values))
    if not complete:
        return []
    registered = [Outgoing(message_id, body.encode(), delay) for message_id, body, delay in json.loads(row.callbacks)]
    return [*registered, *callbacks]
