"""The outbox keeps what a job sends in the commit that ends the job, until the broker has it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, bindparam, delete, func, select

from workers.store import tables
from workers.store.engine import insert_missing, moment, outages


@dataclass(frozen=True)
class Outgoing:
    """A message to publish.

    Attributes:
      message_id: derived from its parent's, so that another attempt stores and publishes the same message.
      body: the encoded message.
      delay_ms: how long the broker keeps it first; None: not at all.
    """

    message_id: str
    body: bytes
    delay_ms: int | None = None


def add(connection: Connection, *, actor: str, key: str, messages: Sequence[Outgoing]) -> None:
    """Store what the job (actor, key) sends, behind what it has stored before; a message that is there stays as it is.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    if not messages:
        return
    columns = tables.outbox.c
    with outages("messages could not be stored"):
        last = select(func.coalesce(func.max(columns.position), -1)).where(columns.actor == actor, columns.key == key)
        first = connection.execute(last).scalar_one() + 1
        common = {"actor": actor, "key": key, "created_at": moment(connection)}
        connection.execute(
            insert_missing(connection.dialect.name, tables.outbox).values(common),
            [
                {"message_id": sent.message_id, "position": position, "body": sent.body, "delay_ms": sent.delay_ms}
                for position, sent in enumerate(messages, start=first)
            ],
        )


def pending(connection: Connection, actor: str, key: str) -> list[Outgoing]:
    """What the job still has to publish, in the order in which it was sent.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.outbox.c
    with outages("messages to publish could not be read"):
        rows = connection.execute(
            select(columns.message_id, columns.body, columns.delay_ms)
            .where(columns.actor == actor, columns.key == key)
            .order_by(columns.position)
        ).all()
    return [Outgoing(row.message_id, row.body, row.delay_ms) for row in rows]


def forget(connection: Connection, actor: str, key: str, message_ids: Iterable[str]) -> None:
    """The broker has confirmed these messages of the job.

    Raises:
      StoreUnavailable: the store can't be reached; they will be published again, under the same ids.
    """
    confirmed = [{"confirmed": message_id} for message_id in message_ids]
    if not confirmed:
        return
    columns = tables.outbox.c
    with outages("published messages could not be removed"):
        connection.execute(
            delete(tables.outbox).where(
                columns.actor == actor, columns.key == key, columns.message_id == bindparam("confirmed")
            ),
            confirmed,
        )


def stranded(connection: Connection, older_than: timedelta, *, limit: int = 100) -> list[tuple[str, str]]:
    """Jobs, as (actor, key), that are done but have not published everything; the longest waiting first.

    Parameters:
      older_than: how long a message must have waited; a job that has just ended is about to publish.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    sent, parent = tables.outbox.c, tables.keys.c
    with outages("unpublished messages could not be read"):
        rows = connection.execute(
            select(sent.actor, sent.key)
            .join_from(tables.outbox, tables.keys, (sent.actor == parent.actor) & (sent.key == parent.key))
            .where(parent.state == "done", sent.created_at < moment(connection) - older_than)
            .group_by(sent.actor, sent.key)
            .order_by(func.min(sent.created_at))
            .limit(limit)
        ).all()
    return [(row.actor, row.key) for row in rows]
