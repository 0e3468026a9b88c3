"""An operator's orders change a key's row: cancel its job, or forget it.

A job that has ended stays as it is. One that is canceled while it runs keeps its holder and fence: it may still
succeed, and any other ending leaves it canceled (workers.store.keys).
"""

from sqlalchemy import Connection, delete, func, select, update

from workers.errors import StoreError
from workers.store import audit, holders, tables
from workers.store.engine import insert_unless_there, moment, outages
from workers.store.keys import Record

_ENDED = {"done", "dead", "discarded", "canceled"}


def cancel(connection: Connection, actor: str, key: str, *, who: str, reason: str) -> Record | None:
    """Cancel a job, seen or not: no message with its key begins any more.

    Returns:
      the row as it was; None: no message with this key has begun yet.

    Raises:
      StoreError: the job has ended.
      StoreUnavailable: the store can't be reached.
    """
    said = {"who": who, "reason": reason, "actor": actor, "key": key}
    with outages("a job could not be canceled"):
        time = moment(connection)
        counts = {"attempt": 0, "generation": 0, "fence": 0}  # below every message: none can be superseded by it
        fresh = {"actor": actor, "key": key, "state": "canceled", "created_at": time, "updated_at": time}
        before = None
        while before is None:
            if insert_unless_there(connection, tables.keys, fresh | counts):
                audit.write(connection, action="canceled", detail="it had not begun", **said)
                return None
            before = _locked(connection, actor, key)  # None: it was purged between the two statements
        if before.state in _ENDED:
            raise StoreError(
                f"{actor} {key} can't be canceled",
                expected="a job that has not ended",
                received=f"{before.state} since {before.updated_at:%Y-%m-%d %H:%M:%S} UTC",
            )
        columns = tables.keys.c
        connection.execute(
            update(tables.keys)
            .where(columns.actor == actor, columns.key == key)
            .values(state="canceled", updated_at=time)
        )
        audit.write(connection, action="canceled", detail=f"it was {before.state}", **said)
        return before


def forget(connection: Connection, actor: str, key: str, *, who: str, reason: str) -> Record:
    """Forget a key, so that the next message with it runs again.

    Returns:
      the row as it was.

    Raises:
      StoreError: nothing is known of it, it runs, or it has messages still to publish.
      StoreUnavailable: the store can't be reached.
    """
    with outages("a key could not be forgotten"):
        before = _locked(connection, actor, key)
        if before is None:
            raise StoreError(
                f"{actor} {key} can't be run again", expected="a key that is remembered", received="no such key"
            )
        if before.holder is not None and holders.is_alive(connection, before.holder):
            raise StoreError(
                f"{actor} {key} can't be run again",
                expected="a job that isn't running",
                received=f"{before.state}, by {_place(connection, before.holder)}",
            )
        sent = tables.outbox.c
        unsent = connection.scalar(
            select(func.count()).select_from(tables.outbox).where(sent.actor == actor, sent.key == key)
        )
        if unsent:
            raise StoreError(
                f"{actor} {key} can't be run again yet",
                expected="a job that has published everything it sent",
                received=f"{unsent} messages still to publish",
            )
        connection.execute(delete(tables.keys).where(tables.keys.c.actor == actor, tables.keys.c.key == key))
        audit.write(
            connection,
            who=who,
            action="forgotten",
            reason=reason,
            actor=actor,
            key=key,
            detail=f"it was {before.state}",
        )
        return before


def _locked(connection: Connection, actor: str, key: str) -> Record | None:
    columns = tables.keys.c
    row = connection.execute(
        select(tables.keys).where(columns.actor == actor, columns.key == key).with_for_update()
    ).mappings()
    found = row.one_or_none()
    return None if found is None else Record(**found)


def _place(connection: Connection, holder: str) -> str:
    columns = tables.holders.c
    row = connection.execute(select(columns.host, columns.pid).where(columns.id == holder)).one()
    return f"pid {row.pid} on {row.host.partition(' ')[0]}"
