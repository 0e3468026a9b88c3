"""A key's row says what has become of a job, so that no job takes effect twice.

    (no row) ──claim──▶ running ──complete──▶ done
       waiting ──claim──▶ │ │ ──bury──▶ dead ──claim, higher generation──▶ running
          ▲               │ │
          └─wait, release─┘ └──claim, its holder is dead──▶ running, fence + 1

*discarded* and *canceled* are set by people. A job that is canceled while it runs keeps its holder: it may still end
as done, and any other ending leaves it canceled. Every ending names holder and fence of its claim: who was taken over
can't end the job. The caller owns the transaction; a row that was claimed stays locked until it ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Select, case, select, update

from workers.errors import ClaimLost
from workers.store import holders, tables
from workers.store.engine import insert_unless_there, moment, outages

State = Literal["waiting", "running", "done", "dead", "discarded", "canceled"]
Result = Literal["run", "duplicate", "superseded", "running", "conflict"]


@dataclass(frozen=True)
class Record:
    """A key's row. `arguments_hash` and `message_id` are None where an ending found no row of its claim."""

    actor: str
    key: str
    state: State
    arguments_hash: str | None
    message_id: str | None
    attempt: int
    generation: int
    holder: str | None
    fence: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Claim:
    """What a message may do.

    Attributes:
      outcome: run it; or it is a duplicate of a job that has ended, superseded by a newer copy, running elsewhere, or
        in conflict with other arguments under the same key.
      fence: with the holder, what an ending must name; 0 unless the outcome is run.
      recorded: the row as it was before; None for a key that was new.
    """

    outcome: Result
    fence: int = 0
    recorded: Record | None = None


def claim(
    connection: Connection,
    *,
    actor: str,
    key: str,
    message_id: str,
    arguments_hash: str,
    attempt: int,
    generation: int,
    holder: str,
    mine: Callable[[str, str], bool],
) -> Claim:
    """Claim a key for one attempt. Of any number of racing messages, one is told to run.

    Parameters:
      holder: the id of this process's lease.
      mine: whether this very process is still running (actor, key); asked only when the row says that it is.

    Raises:
      StoreUnavailable: nothing is known; nothing may run.
    """
    wanted = {
        "state": "running",
        "arguments_hash": arguments_hash,
        "message_id": message_id,
        "attempt": attempt,
        "generation": generation,
        "holder": holder,
    }
    with outages("a key could not be claimed"):
        while True:
            time = moment(connection)
            fresh = {"actor": actor, "key": key, "fence": 1, "created_at": time, "updated_at": time}
            if insert_unless_there(connection, tables.keys, wanted | fresh):
                return Claim("run", fence=1)
            row = _read(connection, _one(actor, key).with_for_update())
            if row is not None:  # else it was purged between the two statements: it is new after all
                break
        outcome = _ended_or_stale(row, arguments_hash, attempt, generation) or _free(connection, row, holder, mine)
        if outcome != "run":
            return Claim(outcome, recorded=row)
        _change(connection, actor, key, wanted | {"fence": row.fence + 1, "updated_at": time})
        return Claim("run", fence=row.fence + 1, recorded=row)


def complete(connection: Connection, *, actor: str, key: str, holder: str, fence: int) -> None:
    """The job succeeded.

    Raises:
      ClaimLost: the job was taken over, or ended by somebody else: roll back.
      StoreUnavailable: the store can't be reached.
    """
    _end(connection, actor, key, holder, fence, state="done")


def wait(connection: Connection, *, actor: str, key: str, holder: str, fence: int, attempt: int) -> None:
    """The attempt failed, and `attempt` is the next one; older copies of the message are superseded from now on.

    Raises:
      ClaimLost: the job was taken over, or ended by somebody else.
      StoreUnavailable: the store can't be reached.
    """
    _end(connection, actor, key, holder, fence, state="waiting", attempt=attempt)


def bury(connection: Connection, *, actor: str, key: str, holder: str, fence: int) -> None:
    """The job is a dead letter: it blocks duplicates until a message of a higher generation comes.

    Raises:
      ClaimLost: the job was taken over, or ended by somebody else.
      StoreUnavailable: the store can't be reached.
    """
    _end(connection, actor, key, holder, fence, state="dead")


def release(connection: Connection, *, actor: str, key: str, holder: str, fence: int) -> None:
    """The job is put back, and no attempt is spent.

    Raises:
      ClaimLost: the job was taken over, or ended by somebody else.
      StoreUnavailable: the store can't be reached.
    """
    _end(connection, actor, key, holder, fence, state="waiting")


def find(connection: Connection, actor: str, key: str) -> Record | None:
    """The key's row, if it has one.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with outages("a key could not be read"):
        return _read(connection, _one(actor, key))


def _ended_or_stale(row: Record, arguments_hash: str, attempt: int, generation: int) -> Result | None:
    """What the row alone decides about a message; None: it may run, unless somebody runs it."""
    if (generation, attempt) < (row.generation, row.attempt):
        return "superseded"
    if generation == row.generation and row.arguments_hash not in {None, arguments_hash}:
        return "conflict"
    if row.state in {"done", "discarded", "canceled"}:
        return "duplicate"
    if row.state == "dead" and generation == row.generation:
        return "duplicate"
    return None


def _free(connection: Connection, row: Record, holder: str, mine: Callable[[str, str], bool]) -> Result:
    if row.state != "running" or row.holder is None:
        return "run"
    if row.holder == holder:
        return "running" if mine(row.actor, row.key) else "run"
    return "running" if holders.is_alive(connection, row.holder) else "run"


def _end(
    connection: Connection, actor: str, key: str, holder: str, fence: int, *, state: State, attempt: int | None = None
) -> None:
    with outages(f"a job could not be recorded as {state}"):
        time = moment(connection)
        values = {"state": state, "holder": None, "updated_at": time}
        spent = {} if attempt is None else {"attempt": attempt}
        # Who was canceled while running stays so, unless the job has succeeded.
        kept = state if state == "done" else case((tables.keys.c.state == "canceled", "canceled"), else_=state)
        if _change(connection, actor, key, values | spent | {"state": kept}, holder=holder, fence=fence):
            return
        # A claim whose row is gone was lost with it, and harms nobody: the ending is what counts.
        lost = {"actor": actor, "key": key, "attempt": 0, "generation": 0, "fence": fence, "created_at": time}
        if insert_unless_there(connection, tables.keys, lost | values | spent):
            return
        row = _read(connection, _one(actor, key))
    raise ClaimLost(
        f"{actor} {key} could not be recorded as {state}",
        expected=f"running, holder {holder}, fence {fence}",
        received="no row" if row is None else f"{row.state}, holder {row.holder}, fence {row.fence}",
    )


def _change(
    connection: Connection,
    actor: str,
    key: str,
    values: dict[str, Any],
    *,
    holder: str | None = None,
    fence: int | None = None,
) -> bool:
    columns = tables.keys.c
    statement = update(tables.keys).where(columns.actor == actor, columns.key == key).values(values)
    if holder is not None:
        statement = statement.where(
            columns.state.in_(("running", "canceled")), columns.holder == holder, columns.fence == fence
        )
    return connection.execute(statement).rowcount == 1


def _one(actor: str, key: str) -> Select[Any]:
    return select(tables.keys).where(tables.keys.c.actor == actor, tables.keys.c.key == key)


def _read(connection: Connection, statement: Select[Any]) -> Record | None:
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else Record(**row)
