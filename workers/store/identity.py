"""The identity tells one store from another, so that a vhost can remember which one it belongs to."""

from sqlalchemy import Engine, inspect, select

from workers.errors import ConfigurationError
from workers.store import tables
from workers.store.engine import outages, read_only


def identity_of(engine: Engine) -> str:
    """The store's id, drawn when it was first migrated.

    Raises:
      ConfigurationError: the store has none: it was not migrated.
      StoreUnavailable: the store can't be reached.
    """
    with outages("the store's identity could not be read"), read_only(engine).connect() as connection:
        found = None
        if inspect(connection).has_table(tables.identity.name):
            found = connection.execute(select(tables.identity.c.id)).scalar_one_or_none()
    if found is None:
        raise ConfigurationError(
            "the store has no identity", expected="a migrated store: dutiful store migrate", received="none"
        )
    return str(found)
