"""What the store knows of single jobs, and what an operator may order of them.

A message that waits in a queue, or in the delay ladder, has no record until it first begins: nothing here knows of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, Engine, and_, func, or_, select

from workers.errors import StoreError
from workers.store import audit, groups, holders, orders, tables
from workers.store.audit import Line
from workers.store.engine import begin, outages, read_only
from workers.store.groups import Progress
from workers.store.keys import Record


@dataclass(frozen=True)
class Holder:
    """The process that a running job is in.

    Attributes:
      alive: its lease is good, as far as the store's clock and this host's processes tell.
    """

    host: str
    pid: int
    expires_at: datetime
    alive: bool


@dataclass(frozen=True)
class Known:
    """What the store knows of one job.

    Attributes:
      record: its key's row; None: there is none now.
      holder: where it runs.
      unsent: messages that it has sent and that RabbitMQ has not confirmed.
      audit: what people did to it, oldest first.
    """

    actor: str
    key: str
    record: Record | None
    holder: Holder | None
    unsent: int
    audit: list[Line]


@dataclass(frozen=True)
class Unsent:
    """A message that waits in the store to be published by the job that sent it."""

    message_id: str
    actor: str
    key: str
    created_at: datetime
    delay_ms: int | None


@dataclass(frozen=True)
class Tick:
    """A schedule's due time whose message has this id."""

    schedule: str
    due_at: datetime
    recorded_at: datetime
    published_at: datetime | None


@dataclass(frozen=True)
class Findings:
    """All that was found; empty lists: nothing is known. `group` is the group that has this id."""

    jobs: list[Known] = field(default_factory=list)
    unsent: list[Unsent] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)
    group: Progress | None = None


def show(
    engine: Engine, *, message_id: str | None = None, key: str | None = None, actor: str | None = None
) -> Findings:
    """What is known of the jobs with a message id, which is the key too unless the actor says another, or with a key.

    The id may be a group's.

    A message's id has no index: the keys are read through once, which takes a second for each few millions.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with outages("jobs could not be looked up"), begin(read_only(engine)) as connection:
        found = [_known(connection, *target) for target in _targets(connection, message_id, key, actor)]
        if message_id is None:
            return Findings(found)
        sent, ticks = tables.outbox.c, tables.ticks.c
        unsent = select(sent.message_id, sent.actor, sent.key, sent.created_at, sent.delay_ms)
        due = select(ticks.schedule, ticks.due_at, ticks.recorded_at, ticks.published_at)
        return Findings(
            found,
            [Unsent(*row) for row in connection.execute(unsent.where(sent.message_id == message_id))],
            [Tick(*row) for row in connection.execute(due.where(ticks.message_id == message_id))],
            groups.find(connection, message_id),
        )


def cancel(engine: Engine, actor: str, key: str, *, reason: str, who: str | None = None) -> Record | None:
    """Cancel a job that has not ended. One that runs is asked to stop; nothing stops it by force.

    Parameters:
      who: for the audit trail; None: this process's user.

    Returns:
      what was known before; None: no message with this key has begun yet.

    Raises:
      StoreError: it has ended.
      StoreUnavailable: the store can't be reached.
    """
    with begin(engine) as connection:
        return orders.cancel(connection, actor, key, reason=reason, who=who or audit.operator())


def rerun(engine: Engine, actor: str, key: str, *, reason: str, who: str | None = None) -> Record:
    """Forget a key, so that the next message with it runs again. This sends no message.

    Parameters:
      who: for the audit trail; None: this process's user.

    Returns:
      what was known before.

    Raises:
      StoreError: nothing is known of the key, the job runs, or it has messages still to publish.
      StoreUnavailable: the store can't be reached.
    """
    with begin(engine) as connection:
        return orders.forget(connection, actor, key, reason=reason, who=who or audit.operator())


def key_of(engine: Engine, message_id: str, actor: str) -> str | None:
    """The key that a message of the actor has run under; None: it has not begun.

    Raises:
      StoreError: it has run under several.
      StoreUnavailable: the store can't be reached.
    """
    with outages("a job could not be looked up"), begin(read_only(engine)) as connection:
        keys = [key for _, key in _targets(connection, message_id, None, actor)]
    if len(keys) > 1:
        raise StoreError("a message id is not one job", expected="one key: give --key", received=", ".join(keys))
    return keys[0] if keys else None


def _targets(
    connection: Connection, message_id: str | None, key: str | None, actor: str | None
) -> Sequence[tuple[str, str]]:
    """Each (actor, key) that is meant, whether its row is there or only the audit trail names it."""
    rows, said = tables.keys.c, tables.audit.c
    wanted = rows.key == key if message_id is None else or_(rows.message_id == message_id, rows.key == message_id)
    named = and_(said.key == (key if message_id is None else message_id), said.actor.is_not(None))
    if actor is not None:
        wanted, named = and_(wanted, rows.actor == actor), and_(named, said.actor == actor)
    both = select(rows.actor, rows.key).where(wanted).union(select(said.actor, said.key).where(named))
    return [(row.actor, row.key) for row in connection.execute(both.order_by("actor", "key"))]


def _known(connection: Connection, actor: str, key: str) -> Known:
    rows, sent = tables.keys, tables.outbox.c
    row = connection.execute(select(rows).where(rows.c.actor == actor, rows.c.key == key)).mappings().one_or_none()
    record = None if row is None else Record(**row)
    unsent = select(func.count()).select_from(tables.outbox).where(sent.actor == actor, sent.key == key)
    return Known(
        actor,
        key,
        record,
        holder_of(connection, record.holder) if record is not None and record.holder is not None else None,
        connection.execute(unsent).scalar_one(),
        audit.lines(connection, actor, key),
    )


def holder_of(connection: Connection, holder: str) -> Holder | None:
    """The process that a key's row names; None: its lease is not on record any more."""
    columns = tables.holders.c
    row = connection.execute(
        select(columns.host, columns.pid, columns.expires_at).where(columns.id == holder)
    ).one_or_none()
    if row is None:
        return None
    return Holder(row.host.partition(" ")[0], row.pid, row.expires_at, holders.is_alive(connection, holder))
