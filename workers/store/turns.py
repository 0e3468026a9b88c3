"""A turn lets one process at a time do what any of them could."""

from datetime import timedelta

from sqlalchemy import Connection, or_, update

from workers.store import tables
from workers.store.engine import insert_unless_there, moment, outages


def take(connection: Connection, name: str, holder: str, lasts: timedelta) -> bool:
    """Take the turn, or keep it for longer. False: another holder has it.

    It orders work, and protects nothing: a holder that was held up may go on beside the next one.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.turns.c
    with outages(f"the turn {name} could not be taken"):
        time = moment(connection)
        mine = {"holder": holder, "expires_at": time + lasts}
        if insert_unless_there(connection, tables.turns, {"name": name, **mine}):
            return True
        taken = connection.execute(
            update(tables.turns)
            .where(columns.name == name, or_(columns.holder == holder, columns.expires_at < time))
            .values(mine)
        )
        return taken.rowcount == 1
