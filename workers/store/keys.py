"""A key's row says what has become of a job, so that no job takes effect twice.

    (no row) ──claim──▶ running ──end──▶ done
       waiting ──claim──▶ │ │ ──end──▶ dead ──claim, higher generation──▶ running
          ▲               │ │
          └──────end──────┘ └──claim, its holder is dead──▶ running, fence + 1

*discarded* and *canceled* are set by people. A job that is canceled while it runs keeps its holder: it may still end
as done, and any other ending leaves it canceled. Every ending names holder and fence of its claim: who was taken over
can't end the job. The caller owns the transaction; a row that was claimed stays locked until it ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Text, case, literal, literal_column, null, select, update

from workers.errors import ClaimLost
from workers.store import holders, tables
from workers.store.engine import insert_unless_there, moment, outages

State = Literal["waiting", "running", "done", "dead", "discarded", "canceled"]
Result = Literal["run", "duplicate", "superseded", "running", "conflict"]
Within = Callable[[Connection], None]


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
    checkpoint: str | None = None


class Claim(NamedTuple):
    """What a message may do.

    Attributes:
      outcome: run it; or it is a duplicate of a job that has ended, superseded by a newer copy, running elsewhere, or
        in conflict with other arguments under the same key.
      fence: with the holder, what an ending must name; 0 unless the outcome is run.
      recorded: the row as it was before; None for a key that was new.
      died: it was taken over from a process that died at work, perhaps of this job.
    """

    outcome: Result
    fence: int = 0
    recorded: Record | None = None
    died: bool = False


class Request(NamedTuple):
    """A message that asks for its key."""

    actor: str
    key: str
    message_id: str
    arguments_hash: str
    attempt: int
    generation: int

    def row(self, holder: str) -> dict[str, Any]:
        """What the key's row says once the message has it, but for fence and times."""
        return {
            "state": "running",
            "arguments_hash": self.arguments_hash,
            "message_id": self.message_id,
            "attempt": self.attempt,
            "generation": self.generation,
            "holder": holder,
        }


class Ending(NamedTuple):
    """How an attempt that held a claim has ended.

    Attributes:
      state: what the job is now: waiting, done or dead.
      attempt: the next one, where this one was spent; older copies of the message are superseded from then on.
      also: what else belongs into the same commit.
      group: which group's rows that touches; endings are recorded in the order of their groups.
    """

    actor: str
    key: str
    holder: str
    fence: int
    state: State
    attempt: int | None = None
    also: Within | None = None
    group: str = ""


def claim(connection: Connection, request: Request, *, holder: str, cautious: bool = False) -> Claim:
    """Claim a key for one attempt. Of any number of racing messages, one is told to run.

    Parameters:
      holder: the id of this process's lease. A row that says it is this holder's was left behind: the caller asks for
        no key that it runs.
      cautious: take nothing over from a lease that may have run out because the store was away.

    Raises:
      StoreUnavailable: nothing is known; nothing may run.
    """
    actor, key, wanted = request.actor, request.key, request.row(holder)
    with outages("a key could not be claimed"):
        while True:
            time = moment(connection)
            fresh = {"actor": actor, "key": key, "fence": 1, "created_at": time, "updated_at": time}
            if insert_unless_there(connection, tables.keys, wanted | fresh):
                return Claim("run", fence=1)
            row = _read(connection, _one(actor, key).with_for_update())
            if row is not None:  # else it was purged between the two statements: it is new after all
                return claim_known(connection, row, request, holder=holder, cautious=cautious)


def claim_known(connection: Connection, row: Record, request: Request, *, holder: str, cautious: bool = False) -> Claim:
    """As `claim`, for a key whose row has been read and is locked."""
    outcome = _ended_or_stale(row, request) or _free(connection, row, holder, cautious=cautious)
    if outcome != "run":
        return Claim(outcome, recorded=row)
    fence = row.fence + 1
    with outages("a key could not be claimed"):
        left_by = row.holder if row.state == "running" and row.holder != holder else None
        died = left_by is not None and holders.died_at_work(connection, left_by)
        values = request.row(holder) | {"fence": fence, "updated_at": moment(connection)}
        _change(connection, row.actor, row.key, values)
    return Claim("run", fence=fence, recorded=row, died=died)


def end(connection: Connection, ending: Ending) -> None:
    """Record how an attempt has ended.

    Raises:
      ClaimLost: the job was taken over, or ended by somebody else: roll back.
      StoreUnavailable: the store can't be reached.
    """
    actor, key, holder, fence = ending.actor, ending.key, ending.holder, ending.fence
    with outages(f"a job could not be recorded as {ending.state}"):
        now = {"updated_at": moment(connection)} | ({} if ending.attempt is None else {"attempt": ending.attempt})
        if _change(connection, actor, key, ended(literal(ending.state)) | now, holder=holder, fence=fence):
            return
        # A claim whose row is gone was lost with it, and harms nobody: the ending is what counts.
        lost = {"actor": actor, "key": key, "attempt": 0, "generation": 0, "fence": fence, "state": ending.state}
        if insert_unless_there(connection, tables.keys, lost | {"created_at": now["updated_at"]} | now):
            return
        row = _read(connection, _one(actor, key))
    raise ClaimLost(
        f"{actor} {key} could not be recorded as {ending.state}",
        expected=f"running, holder {holder}, fence {fence}",
        received="no row" if row is None else f"{row.state}, holder {row.holder}, fence {row.fence}",
    )


def ended(state: ColumnElement[str]) -> dict[str, Any]:
    """What an ending in this state makes of a row that its attempt holds."""
    columns = tables.keys.c
    done, canceled = literal_column("'done'", Text), literal_column("'canceled'", Text)
    return {
        # Who was canceled while running stays so, unless the job has succeeded.
        "state": case(((columns.state == canceled) & (state != done), canceled), else_=state),
        "holder": null(),
        "checkpoint": case((state == done, null()), else_=columns.checkpoint),  # no attempt goes on from a done one
    }


def find(connection: Connection, actor: str, key: str) -> Record | None:
    """The key's row, if it has one.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    with outages("a key could not be read"):
        return _read(connection, _one(actor, key))


def _ended_or_stale(row: Record, request: Request) -> Result | None:
    """What the row alone decides about a message; None: it may run, unless somebody runs it."""
    if (request.generation, request.attempt) < (row.generation, row.attempt):
        return "superseded"
    if request.generation == row.generation and row.arguments_hash not in {None, request.arguments_hash}:
        return "conflict"
    if row.state in {"done", "discarded", "canceled"}:
        return "duplicate"
    if row.state == "dead" and request.generation == row.generation:
        return "duplicate"
    return None


def _free(connection: Connection, row: Record, holder: str, *, cautious: bool) -> Result:
    if row.state != "running" or row.holder in {None, holder}:
        return "run"
    assert row.holder is not None  # noqa: S101  narrows the type
    return "running" if holders.is_alive(connection, row.holder, cautious=cautious) else "run"


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
