"""Database calls are counted for the job that makes them, whichever database it asks with SQLAlchemy."""

from typing import Any

from sqlalchemy import Engine, event

from workers.logs import subject


def count_database_calls() -> None:
    """Count from now on, in this process; a second call changes nothing."""
    if not event.contains(Engine, "before_cursor_execute", _count):
        event.listen(Engine, "before_cursor_execute", _count)


def _count(*_: Any) -> None:
    delivery = subject.get()  # of the job that this thread runs
    if delivery is not None:
        delivery.database_calls += 1
