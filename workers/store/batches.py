"""Batches let many jobs share a transaction: their claims one, their endings another."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Dialect,
    Integer,
    Text,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from workers.errors import ClaimLost
from workers.store import keys, tables
from workers.store.engine import insert_missing, outages, stamp, stamped
from workers.store.keys import Claim, Ending, Record, Request

# Dialects that write parameters by name, as the rows have them.
_NAMED: Final[dict[str, Callable[[], Dialect]]] = {
    "sqlite": partial(sqlite.dialect, paramstyle="named"),
    "postgresql": postgresql.psycopg.dialect,
}


def claim(connection: Connection, requests: Sequence[Request], *, holder: str, cautious: bool = False) -> list[Claim]:
    """Claim a key for each message, in their order; the rules are those of `keys.claim`, and no key is there twice.

    New keys cost one statement together; one more finds those that have a row.

    Raises:
      StoreUnavailable: nothing is known; nothing may run.
    """
    with outages("keys could not be claimed"):
        if _insert(connection, requests, holder) == len(requests):
            return [Claim("run", fence=1)] * len(requests)
        rows = _read(connection, requests)
    claims = []
    for request in requests:
        row = rows.get((request.actor, request.key))
        if row is None:  # it was purged between the two statements
            claims.append(keys.claim(connection, request, holder=holder, cautious=cautious))
        elif _is_new(row, request, holder):
            claims.append(Claim("run", fence=1))
        else:
            claims.append(keys.claim_known(connection, row, request, holder=holder, cautious=cautious))
    return claims


def end(connection: Connection, endings: Sequence[Ending]) -> bool:
    """Record how attempts have ended, all or none.

    Returns:
      whether each of them still held its claim; if not, roll back, and end them one by one.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with outages("endings could not be recorded"):
        # One statement, whatever the states: those that claim the same keys lock them in the same order.
        now = stamped(connection)
        if not _update(connection, [_mark(each) | now for each in sorted(endings, key=_name)]):
            return False
    for each in sorted(endings, key=lambda each: each.group):
        if each.also is not None:
            each.also(connection)
    return True


def end_each(connection: Connection, endings: Sequence[Ending]) -> list[ClaimLost | None]:
    """As `end`, one by one; where a claim was lost, the error says to whom.

    An ending that stands there already is recorded, with what belongs to it: the answer to its commit was lost.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    found: dict[Ending, ClaimLost | None] = {}
    for ending in sorted(endings, key=_name):
        try:
            keys.end(connection, ending)
            if ending.also is not None:
                ending.also(connection)
            found[ending] = None
        except ClaimLost as error:
            found[ending] = None if _stands(connection, ending) else error
    return [found[each] for each in endings]


def _insert(connection: Connection, requests: Sequence[Request], holder: str) -> int:
    # In one order everywhere: two processes that lock the same rows in two orders would wait for each other.
    ordered = sorted(requests, key=_name)
    now = stamped(connection)
    rows = [{"actor": each.actor, "key": each.key, **each.row(holder), **now} for each in ordered]
    return connection.exec_driver_sql(_inserting(connection.dialect.name), rows).rowcount


def _mark(ending: Ending) -> dict[str, Any]:
    return {
        "of": ending.actor,
        "named": ending.key,
        "held_by": ending.holder,
        "fenced": ending.fence,
        "new_state": ending.state,
        "next_attempt": ending.attempt,
    }


def _update(connection: Connection, rows: list[dict[str, Any]]) -> bool:
    """Whether each was still held."""
    return connection.exec_driver_sql(_ending(connection.dialect.name), rows).rowcount == len(rows)


# These two statements run for every job. They are compiled once, and the driver gets the rows as they are: SQLAlchemy
# would look at each value of each row again. All values are text and numbers, which need no conversion.


@cache
def _inserting(dialect: str) -> str:
    common = {"fence": literal_column("1"), "created_at": stamp(dialect), "updated_at": stamp(dialect)}
    names = ["actor", "key", "state", "arguments_hash", "message_id", "attempt", "generation", "holder"]
    statement = insert_missing(dialect, tables.keys).values(common)
    return str(statement.compile(dialect=_NAMED[dialect](), column_keys=[*names, *common]))


@cache
def _ending(dialect: str) -> str:
    columns = tables.keys.c
    values: dict[str, Any] = {
        **keys.ended(bindparam("new_state", type_=Text)),
        "attempt": func.coalesce(bindparam("next_attempt", type_=Integer), columns.attempt),
        "updated_at": stamp(dialect),
    }
    held = (
        columns.actor == bindparam("of"),
        columns.key == bindparam("named"),
        columns.holder == bindparam("held_by"),
        columns.fence == bindparam("fenced"),
        columns.state.in_([literal_column("'running'"), literal_column("'canceled'")]),
    )
    return str(update(tables.keys).where(*held).values(values).compile(dialect=_NAMED[dialect]()))


def _read(connection: Connection, requests: Sequence[Request]) -> dict[tuple[str, str], Record]:
    columns = tables.keys.c
    names = sorted(_name(each) for each in requests)
    wanted = select(tables.keys).where(tuple_(columns.actor, columns.key).in_(names))
    rows = connection.execute(wanted.order_by(columns.actor, columns.key).with_for_update()).mappings()
    return {(row["actor"], row["key"]): Record(**row) for row in rows}


def _is_new(row: Record, request: Request, holder: str) -> bool:
    """Whether this row is what the insert has just written; one that this process left behind is worth the same."""
    expected = request.row(holder) | {"fence": 1}
    return all(getattr(row, name) == value for name, value in expected.items())


def _stands(connection: Connection, ending: Ending) -> bool:
    row = keys.find(connection, ending.actor, ending.key)
    return row is not None and (row.state, row.holder, row.fence) == (ending.state, None, ending.fence)


def _name(each: Request | Ending) -> tuple[str, str]:
    """What batches are sorted by: two processes that lock the same rows in two orders would wait for each other."""
    return each.actor, each.key
