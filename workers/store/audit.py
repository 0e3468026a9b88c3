"""The audit trail says who changed what is remembered, when and why."""

import getpass
import os
import socket
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from workers.store import tables
from workers.store.engine import moment, outages


@dataclass(frozen=True)
class Line:
    """One thing that somebody did."""

    at: datetime
    who: str
    action: str
    reason: str
    detail: str


def operator() -> str:
    """Who is at work here, as `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"  # a container's user often has no name
    return f"{user}@{socket.gethostname()}"


def write(
    connection: Connection,
    *,
    who: str,
    action: str,
    reason: str,
    actor: str | None = None,
    key: str | None = None,
    detail: str = "",
) -> None:
    """Write a line, in the transaction of what it is about.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with outages("the audit trail could not be written"):
        said = {"who": who, "action": action, "reason": reason, "actor": actor, "key": key, "detail": detail}
        connection.execute(insert(tables.audit).values(at=moment(connection), **said))


def lines(connection: Connection, actor: str, key: str) -> list[Line]:
    """What was done to a job, oldest first.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.audit.c
    with outages("the audit trail could not be read"):
        rows = connection.execute(
            select(columns.at, columns.who, columns.action, columns.reason, columns.detail)
            .where(columns.actor == actor, columns.key == key)
            .order_by(columns.at, columns.id)
        ).all()
    return [Line(*row) for row in rows]
