"""`dutiful store` looks after what is remembered about jobs."""

from collections.abc import Callable
from typing import Any

import typer

from workers.cli.output import Json, show
from workers.cli.package import Package

store = typer.Typer(no_args_is_help=True, help="What is remembered about jobs.")


@store.command("migrate")
def migrate_store(package: Package = "actors") -> None:
    """Bring the store's tables, and those of the package, up to date. Doing it again changes nothing."""
    from workers.store import migrate  # noqa: PLC0415  Alembic is slow to load

    with_store(lambda engine: migrate.migrate(engine, package))
    store_status(package)


@store.command("status")
def store_status(package: Package = "actors", as_json: Json = False) -> None:
    """How far each set of migrations is. Exit status 1 when one is behind."""
    from workers.store import migrate  # noqa: PLC0415  Alembic is slow to load

    found = with_store(lambda engine: migrate.status(engine, package))
    rows = [{"tables": each.name, "at": each.current, "newest": each.head} for each in found]
    show(rows, as_json=as_json, nothing="no tables")
    if any(row["at"] != row["newest"] for row in rows):
        raise typer.Exit(1)


def with_store(act: Callable[[Any], Any]) -> Any:
    """Do something with the engine of the store that the settings name."""
    from workers.settings import settings  # noqa: PLC0415
    from workers.store.engine import create_store_engine  # noqa: PLC0415

    engine = create_store_engine(settings().store.url.get_secret_value())
    try:
        return act(engine)
    finally:
        engine.dispose()
