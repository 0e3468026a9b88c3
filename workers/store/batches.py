"""Batches let many jobs share a transaction: their claims one, their endings another."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    null,
    select,
    tuple_,
    update,
)

from workers.errors import ClaimLost
from workers.store import keys, tables
from workers.store.engine import insert_missing, moment, outages
from workers.store.keys import Claim, Ending, Record, Request


def claim(connection: Connection, requests: Sequence[Request], *, holder: str) -> list[Claim]:
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
            claims.append(keys.claim(connection, request, holder=holder))
        elif _is_new(row, request, holder):
            claims.append(Claim("run", fence=1))
        else:
            claims.append(keys.claim_known(connection, row, request, holder=holder))
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
        if not _update(connection, [_mark(each) for each in sorted(endings, key=_name)]):
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
    rows: list[dict[str, Any]] = [
        {"actor": each.actor, "key": each.key, "fence": 1, **each.row(holder)} for each in ordered
    ]
    times = _times(connection, rows, "created_at", "updated_at")
    statement = insert_missing(connection, tables.keys)
    statement = statement.values(times) if times else statement
    return connection.execute(statement, rows, execution_options={"preserve_rowcount": True}).rowcount


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
    """Whether each was still held. No value stands in the statement itself: SQLAlchemy would copy it for each row."""
    columns = tables.keys.c
    values: dict[str, Any] = {"state": _kept_state(), "holder": null()}
    values["updated_at"] = _times(connection, rows, "now").get("now", bindparam("now", type_=columns.updated_at.type))
    values["checkpoint"] = case(
        (bindparam("new_state", type_=Text) == literal_column("'done'"), null()), else_=columns.checkpoint
    )
    values["attempt"] = func.coalesce(bindparam("next_attempt", type_=Integer), columns.attempt)
    held = (
        columns.actor == bindparam("of"),
        columns.key == bindparam("named"),
        columns.holder == bindparam("held_by"),
        columns.fence == bindparam("fenced"),
        columns.state.in_([literal_column("'running'"), literal_column("'canceled'")]),
    )
    return connection.execute(update(tables.keys).where(*held).values(values), rows).rowcount == len(rows)


def _kept_state() -> ColumnElement[str]:
    """Who was canceled while running stays so, unless the job has succeeded."""
    new, canceled = bindparam("new_state", type_=Text), literal_column("'canceled'", Text)
    stays = (tables.keys.c.state == canceled) & (new != literal_column("'done'"))
    return case((stays, canceled), else_=new)


def _times(connection: Connection, rows: list[dict[str, Any]], *names: str) -> dict[str, Any]:
    """The store's time under these names: in each row, or, where the store has a clock, as an expression."""
    time = moment(connection)
    if not isinstance(time, datetime):
        return dict.fromkeys(names, time)
    for row in rows:
        row.update(dict.fromkeys(names, time))
    return {}


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
