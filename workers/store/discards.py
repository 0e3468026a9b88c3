"""A discard ends jobs that are dead, so that no late copy of one runs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, literal_column, update

from workers.store import tables
from workers.store.engine import moment, outages


def discard(connection: Connection, jobs: Sequence[tuple[str, str, int]]) -> None:
    """Set jobs that are dead to discarded.

    Parameters:
      jobs: actor, key and generation of each; a row that is not dead, or of another generation, stays as it is.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    if not jobs:
        return
    columns = tables.keys.c
    rows: list[dict[str, Any]] = [
        {"of": actor, "named": key, "died": generation} for actor, key, generation in sorted(jobs)
    ]
    time = moment(connection)
    values: dict[str, Any] = {"state": literal_column("'discarded'"), "updated_at": time}
    if isinstance(time, datetime):
        values["updated_at"] = bindparam("now", type_=columns.updated_at.type)
        for row in rows:
            row["now"] = time
    dead = (
        columns.actor == bindparam("of"),
        columns.key == bindparam("named"),
        columns.generation == bindparam("died"),
        columns.state == literal_column("'dead'"),
    )
    with outages("jobs could not be discarded"):
        connection.execute(update(tables.keys).where(*dead).values(values), rows)
