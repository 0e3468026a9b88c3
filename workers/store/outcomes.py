"""Outcomes of replays are read from the keys of their jobs."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Engine, select, tuple_

from workers.store import tables
from workers.store.engine import outages, read_only

_BATCH: Final = 500


def outcomes(store: Engine, jobs: Sequence[tuple[str, str, int]]) -> "Counter[str]":
    """How replays have ended so far: how many are pending, succeeded, failed again, discarded or canceled.

    Parameters:
      jobs: actor, key and generation of each replay; a job without a key leaves no record.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.keys.c
    found: Counter[str] = Counter()
    with read_only(store).connect() as connection, outages("outcomes could not be read"):
        for start in range(0, len(jobs), _BATCH):
            some = jobs[start : start + _BATCH]
            names = [(actor, key) for actor, key, _ in some]
            wanted = select(columns.actor, columns.key, columns.state, columns.generation)
            rows = connection.execute(wanted.where(tuple_(columns.actor, columns.key).in_(names))).all()
            states: dict[Any, Any] = {(row[0], row[1]): (row[2], row[3]) for row in rows}
            found.update(_outcome(*states.get((actor, key), ("waiting", 0)), of=of) for actor, key, of in some)
    return found


def _outcome(state: str, generation: int, *, of: int) -> str:
    if state in {"discarded", "canceled"}:
        return state
    if state == "done":
        return "succeeded"
    return "failed again" if state == "dead" and generation >= of else "pending"


def records(store: Engine, message_id: str) -> list[dict[str, Any]]:
    """What is on record of jobs with this message id that have been replayed: actor, key, how often, and the outcome.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.keys.c
    wanted = select(columns.actor, columns.key, columns.state, columns.generation).where(
        columns.message_id == message_id, columns.generation > 0
    )
    with read_only(store).connect() as connection, outages("outcomes could not be read"):
        rows = connection.execute(wanted).all()
    return [
        {"actor": actor, "key": key, "replays": generation, "outcome": _outcome(state, generation, of=generation)}
        for actor, key, state, generation in rows
    ]
