"""What became of a tick is copied from the key of its job, which is purged sooner."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, or_, select, update

from workers.store import tables
from workers.store.engine import now, outages
from workers.store.ticks import Tick

# Keys of ended jobs are kept for a week unless the settings say more; after this nothing can be copied any more.
_KNOWABLE: Final = timedelta(days=30)
_OUTCOMES: Final = {"done": "succeeded", "dead": "dead", "discarded": "discarded", "canceled": "canceled"}


def settle(connection: Connection, names: Collection[str]) -> list[Tick]:
    """Copy from the keys of the jobs which published ticks have started and ended.

    Returns:
      those that have ended since somebody last looked.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns, keys = tables.ticks.c, tables.keys.c
    job = and_(keys.actor == columns.actor, keys.key == columns.key)
    known = select(tables.ticks, keys.state, keys.fence, keys.created_at, keys.updated_at)
    ended = []
    with outages("what became of ticks could not be read"):
        here = now(connection)
        rows = connection.execute(
            known.join_from(tables.ticks, tables.keys, job, isouter=True).where(
                columns.ended_at.is_(None),
                columns.published_at.is_not(None),
                columns.schedule.in_(names),
                or_(keys.state.in_(_OUTCOMES), columns.started_at.is_(None), columns.published_at < here - _KNOWABLE),
            )
        ).all()
        for row in rows:
            news = _news(row, here)
            if not news:
                continue
            # Of many schedulers, the one that changes the row tells of it.
            same = [
                columns.schedule == row.schedule,
                columns.due_at == row.due_at,
                columns.message_id == row.message_id,
                columns.ended_at.is_(None),
            ]
            changed = connection.execute(update(tables.ticks).where(*same).values(news)).rowcount
            if changed and "ended_at" in news:
                fields = {name: row._mapping[name] for name in Tick.__dataclass_fields__}  # noqa: SLF001  public in all but name
                ended.append(Tick(**fields | news))
    return ended


def _news(row: Row[Any], here: datetime) -> dict[str, Any]:
    """What the key of the job says that the tick does not say yet."""
    news: dict[str, Any] = {}
    if row.state is not None and row.fence > 0 and row.started_at is None:
        news["started_at"] = row.created_at
    if row.state in _OUTCOMES:
        news |= {"ended_at": row.updated_at, "outcome": _OUTCOMES[row.state]}
    elif row.published_at < here - _KNOWABLE and row.state is None:
        news |= {"ended_at": here, "outcome": "unknown"}
    return news
