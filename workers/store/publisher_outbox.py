"""The publishers' outbox keeps what services send in their own commits, until the broker has it.

A relay claims rows for a while, publishes them, and removes them. It holds no lock meanwhile: a claim that runs out,
because its relay died, lets another relay publish the same messages again, under the same ids.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Text,
    cast,
    delete,
    func,
    inspect,
    or_,
    select,
    type_coerce,
    update,
)

from workers.errors import ConfigurationError, ContractError
from workers.store import tables
from workers.store.engine import moment, now, outages

_TABLE: Final = tables.publisher_outbox
_LONGEST_ERROR: Final = 2_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row as its publisher wrote it. SQLite keeps values of any type, so nothing here is checked yet.

    Attributes:
      delay_ms: counted from created_at; None: no delay.
      created_at: on PostgreSQL a datetime; on SQLite what is there.
    """

    message_id: str
    queue: str
    body: Any
    headers: Any
    delay_ms: Any
    created_at: Any

    def delay_from(self, time: datetime) -> int | None:
        """What is left of its delay, in milliseconds; None: nothing.

        Raises:
          ContractError: the row's delay or its time can't be read.
        """
        if self.delay_ms is None:
            return None
        if not isinstance(self.delay_ms, int):
            raise _unfit("delay_ms", "whole milliseconds")
        if isinstance(self.created_at, datetime):
            created_at = self.created_at
        else:
            try:
                created_at = datetime.fromisoformat(str(self.created_at))
            except ValueError:
                raise _unfit("created_at", "the time that the database puts there itself") from None
            # SQLite's own clock counts whole seconds there, and a job must not come early.
            created_at = created_at.replace(tzinfo=created_at.tzinfo or UTC) + timedelta(seconds=1)
        left = self.delay_ms - int((time - created_at) / timedelta(milliseconds=1))
        return left if left > 0 else None


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits.

    Attributes:
      rows: that wait to be published.
      oldest_seconds: how long the oldest of them has waited; 0 when none does.
      set_aside: rows that can never be published as they are.
    """

    rows: int
    oldest_seconds: float
    set_aside: int


def _unfit(column: str, expected: str) -> ContractError:
    return ContractError("a row of the outbox can't be read", expected=f"{expected} in {column}", received="another")


def create(connection: Connection) -> None:
    """Make the table in a service's own database, unless it is there."""
    with outages("the outbox could not be made"):
        _TABLE.create(connection, checkfirst=True)


def require(connection: Connection) -> None:
    """Make sure that the table is there.

    Raises:
      ConfigurationError: it is not.
      StoreUnavailable: the database can't be reached.
    """
    with outages("the outbox could not be looked for"):
        if not inspect(connection).has_table(_TABLE.name):
            raise ConfigurationError(
                "the database has no outbox", expected=f"a table {_TABLE.name}: dutiful outbox init", received="none"
            )


def is_waiting(connection: Connection) -> bool:
    """Whether any row can be claimed."""
    with outages("the outbox could not be read"):
        found = select(_TABLE.c.message_id).where(*_free(connection)).limit(1)
        return connection.execute(found).first() is not None


def claim(connection: Connection, *, limit: int, lasts: timedelta) -> tuple[datetime, list[Waiting]]:
    """Take the oldest rows for a while; rows that another relay takes at the same moment are passed over.

    Returns:
      the time by the database's clock, and the rows.

    Raises:
      StoreUnavailable: the database can't be reached.
    """
    columns = _TABLE.c
    is_sqlite = connection.dialect.name == "sqlite"  # there, a text may be no UTF-8
    with outages("the outbox could not be read"):
        time = now(connection)
        found = connection.execute(
            select(
                columns.message_id,
                columns.queue,
                cast(columns.body, LargeBinary) if is_sqlite else columns.body,
                columns.headers,
                columns.delay_ms,
                type_coerce(columns.created_at, Text).label("created_at"),  # a bad one must not hide its neighbours
            )
            .where(*_free(connection))
            .order_by(columns.created_at)
            .limit(limit)
            .with_for_update(skip_locked=True)  # SQLite has one writer at a time anyway
        ).all()
        rows = [Waiting(*row) for row in found]
        _mark(connection, (row.message_id for row in rows), {"claimed_until": time + lasts})
    return time, rows


def release(connection: Connection, message_ids: Iterable[str]) -> None:
    """Give claimed rows back before their time.

    Raises:
      StoreUnavailable: the database can't be reached; the claims run out by themselves.
    """
    with outages("claimed messages could not be given back"):
        _mark(connection, message_ids, {"claimed_until": None})


def set_aside(connection: Connection, errors: Mapping[str, str]) -> None:
    """Keep rows, by message id, that can never be published as they are, with the reason.

    Raises:
      StoreUnavailable: the database can't be reached; their claims run out, and they are looked at again.
    """
    with outages("messages could not be set aside"):
        for message_id, error in errors.items():
            # Half of a character, or NUL, is nothing that a database would keep.
            said = error.replace("\0", "")[:_LONGEST_ERROR].encode(errors="replace").decode()
            _mark(connection, [message_id], {"claimed_until": None, "error": said})


def forget(connection: Connection, message_ids: Iterable[str]) -> None:
    """The broker has confirmed these.

    Raises:
      StoreUnavailable: the database can't be reached; they will be published again, under the same ids.
    """
    ids = list(message_ids)
    if ids:
        with outages("published messages could not be removed"):
            connection.execute(delete(_TABLE).where(_TABLE.c.message_id.in_(ids)))


def depth(connection: Connection) -> Depth:
    """How much waits, claimed or not.

    Raises:
      StoreUnavailable: the database can't be reached.
    """
    columns = _TABLE.c
    with outages("the outbox could not be counted"):
        time = now(connection)
        waiting = columns.error.is_(None)
        counts = connection.execute(
            select(func.count().filter(waiting), func.count().filter(columns.error.is_not(None))).select_from(_TABLE)
        ).one()
        oldest = connection.scalar(select(func.min(columns.created_at)).where(waiting))
    return Depth(counts[0], max(0.0, (time - oldest).total_seconds()) if oldest else 0.0, counts[1])


def _free(connection: Connection) -> tuple[ColumnElement[bool], ...]:
    columns = _TABLE.c
    unclaimed = or_(columns.claimed_until.is_(None), columns.claimed_until < moment(connection))
    return columns.error.is_(None), unclaimed


def _mark(connection: Connection, message_ids: Iterable[str], values: Mapping[str, Any]) -> None:
    ids = list(message_ids)
    if ids:
        connection.execute(update(_TABLE).where(_TABLE.c.message_id.in_(ids)).values(values))
