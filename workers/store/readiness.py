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
      ConfigurationError: the schema is behind, or needs a newer release; it says what to do.
      StoreUnavailable: the store can't be reached.
    """
    from workers.store.migrate import migrate, status  # noqa: PLC0415  Alembic is slow to load, and not needed again

    for package in (None, *sorted(packages)):
        if engine.dialect.name == "sqlite":
            migrate(engine, package)
        for each in status(engine, package):
            if each.needs is not None:
                raise ConfigurationError(
                    f"this release is too old for the store's tables of {each.name}",
                    expected=f"a release that knows their revision {each.needs}",
                    received=f"one that knows {each.head} as the newest",
                )
            if each.is_behind:
                raise ConfigurationError(
                    f"the store's tables of {each.name} are behind",
                    expected=f"a migrated store: dutiful store migrate{f' {package}' if package else ''}",
                    received=f"{each.current or 'no tables'}, newest {each.head}",
                )


def packages_of(actors: Iterable[Any]) -> set[str]:
    """The packages that these actors live in; a module that stands alone can't bring migrations."""
    names = {actor.fn.__module__.partition(".")[0] for actor in actors}
    return {name for name in names if hasattr(sys.modules.get(name), "__path__")}
