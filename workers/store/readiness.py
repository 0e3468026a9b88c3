"""Readiness tells a worker, before it consumes anything, whether the store has the tables it needs."""

import sys
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Engine

from workers.errors import ConfigurationError


def make_ready(engine: Engine, packages: Iterable[str]) -> None:
    """Bring an embedded store up to date; look whether a server's is.

    SQLite belongs to this host alone, so a worker migrates it itself. A server's schema is a step of the deploy.

    Parameters:
      packages: the packages of jobs whose own migrations count too.

    Raises:
      ConfigurationError: the schema is missing or behind; it names the command that mends it.
      StoreUnavailable: the store can't be reached.
    """
    from workers.store.migrate import migrate, status  # noqa: PLC0415  Alembic is slow to load, and not needed again

    for package in (None, *sorted(packages)):
        if engine.dialect.name == "sqlite":
            migrate(engine, package)
            continue
        behind = [each for each in status(engine, package) if each.current is None and each.head is not None]
        if behind:
            raise ConfigurationError(
                f"the store has no tables of {', '.join(each.name for each in behind)}",
                expected=f"a migrated store: dutiful store migrate{f' {package}' if package else ''}",
                received="; ".join(f"{each.name}: {each.current}, newest {each.head}" for each in behind),
            )


def packages_of(actors: Iterable[Any]) -> set[str]:
    """The packages that these actors live in; a module that stands alone can't bring migrations."""
    names = {actor.fn.__module__.partition(".")[0] for actor in actors}
    return {name for name in names if hasattr(sys.modules.get(name), "__path__")}
