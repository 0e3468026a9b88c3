"""A checkpoint tells the next attempt of a job where to go on."""

import json
from typing import Any, Final

from sqlalchemy import Connection, update

from workers.errors import ClaimLost, PermanentFailure
from workers.store import tables
from workers.store.engine import insert_unless_there, moment, outages

LARGEST_BYTES: Final = 65_536


def written(checkpoint: Any, actor: str) -> str:
    """A checkpoint as JSON.

    Raises:
      PermanentFailure: it is too large, or JSON can't hold it.
    """
    try:
        text = json.dumps(checkpoint, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise PermanentFailure(
            f"{actor} can't keep its checkpoint", expected="what JSON can hold", received=str(error)
        ) from None
    if len(text) > LARGEST_BYTES:
        raise PermanentFailure(
            f"{actor} can't keep its checkpoint",
            expected=f"at most {LARGEST_BYTES} bytes: keep a reference, and the data in a table",
            received=f"{len(text)} bytes",
        )
    return text


def save(connection: Connection, *, actor: str, key: str, holder: str, fence: int, checkpoint: str) -> None:
    """Keep a checkpoint (JSON), if the job is still this claim's; it goes on running.

    Raises:
      ClaimLost: the job was taken over, or ended by somebody else: roll back.
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.keys.c
    claimed = {"state": "running", "holder": holder, "fence": fence}
    with outages("a checkpoint could not be kept"):
        time = moment(connection)
        values = {"checkpoint": checkpoint, "updated_at": time}
        change = update(tables.keys).where(columns.actor == actor, columns.key == key, columns.state == "running")
        change = change.where(columns.holder == holder, columns.fence == fence).values(values)
        if connection.execute(change).rowcount == 1:
            return
        # A claim whose row is gone was lost with it, as in keys: what was done is what counts.
        lost = {"actor": actor, "key": key, "attempt": 0, "generation": 0, "created_at": time}
        if insert_unless_there(connection, tables.keys, lost | claimed | values):
            return
    raise ClaimLost(
        f"a checkpoint of {actor} {key} could not be kept",
        expected=f"running, holder {holder}, fence {fence}",
        received="another claim, or an ending",
    )
