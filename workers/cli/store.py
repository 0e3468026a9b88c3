"""`dutiful store` looks after what is remembered about jobs."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

import typer

from workers.cli.moments import duration
from workers.cli.output import Json, document, progress, show
from workers.cli.package import Package, connected_to

store = typer.Typer(no_args_is_help=True, help="What is remembered about jobs.")


@store.command("migrate")
def migrate_store(package: Package = "actors") -> None:
    """Bring the store's tables, and those of the package, up to date. Doing it again changes nothing."""
    from workers.store import migrate  # noqa: PLC0415  Alembic is slow to load

    with_store(lambda engine: migrate.migrate(engine, package))
    store_status(package)


@store.command("status")
def store_status(package: Package = "actors", as_json: Json = False) -> None:
    """How far its migrations are, which store this is, and what it holds. Exit status 1: migrations are behind."""
    from workers.store import migrate  # noqa: PLC0415  Alembic is slow to load
    from workers.store.census import census  # noqa: PLC0415
    from workers.store.identity import identity_of  # noqa: PLC0415

    def look(engine: Any) -> tuple[list[migrate.Status], str | None, list[Any]]:
        found = migrate.status(engine, package)
        if found[0].is_behind:
            return found, None, []  # the tables to count may not be there
        return found, identity_of(engine), census(engine)

    found, identity, groups = with_store(look)
    rows = [{"tables": each.name, "at": each.current, "newest": each.head} for each in found]
    if as_json:
        document({"schema": rows, "identity": identity, "holds": [asdict(each) for each in groups]})
    else:
        show(rows, as_json=False, nothing="no tables")
        sys.stdout.write(f"store: {identity or 'no identity before it is migrated'}\n")
        held = [
            {"what": each.what, "rows": each.rows, "oldest": each.oldest and f"{each.oldest:%Y-%m-%d %H:%M:%S} UTC"}
            for each in groups
        ]
        if held:
            show(held, as_json=False, nothing="")
    if any(each.is_behind for each in found):
        raise typer.Exit(1)


@store.command("purge")
def purge_store(
    *,
    older_than: Annotated[
        str | None, typer.Option(help="Age of ended keys, as 7d, 12h, 30m; else DUTIFUL_STORE__KEY_TTL_SECONDS.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what nobody needs any more, in small batches. Jobs that wait, run or are dead stay."""
    from workers.settings import settings  # noqa: PLC0415  only what a command uses is loaded
    from workers.store.purge import purge, purgeable  # noqa: PLC0415

    ttl = timedelta(seconds=settings().store.key_ttl_seconds) if older_than is None else duration(older_than)
    report = _Progress()
    removed = with_store(
        lambda engine: purgeable(engine, key_ttl=ttl) if dry_run else purge(engine, key_ttl=ttl, progress=report.tick)
    )
    if as_json:
        document({"dry_run": dry_run, "key_ttl_seconds": ttl.total_seconds(), "rows": removed})
        return
    for table, rows in removed.items():
        sys.stdout.write(f"{table}: {rows} {'to remove' if dry_run else 'removed'}\n")


@store.command("adopt")
def adopt_vhost(
    package: Package = "actors",
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept in the audit trail.")],
) -> None:
    """Let the vhost belong to this store from now on. Stop its workers first. Exit status 1: refused."""
    from workers.adoption import adopt  # noqa: PLC0415  only what a command uses is loaded

    with connected_to(package) as broker:
        before = adopt(broker, broker.get_declared_queues(), reason=reason)
        broker.store.dispose()
    if before is None:
        sys.stdout.write("the vhost belongs to this store\n")
    else:
        sys.stdout.write(f"the vhost belonged to store {before}, and belongs to this one now\n")


def with_store(act: Callable[[Any], Any]) -> Any:
    """Do something with the engine of the store that the settings name."""
    from workers.settings import settings  # noqa: PLC0415
    from workers.store.engine import create_store_engine  # noqa: PLC0415

    chosen = settings().store
    engine = create_store_engine(chosen.url.get_secret_value(), ca_path=chosen.ca_path)
    try:
        return act(engine)
    finally:
        engine.dispose()


class _Progress:
    """One line that changes, on a terminal; nothing elsewhere. On standard error."""

    def __init__(self) -> None:
        self._console = progress()
        self._last = 0.0

    def tick(self, removed: Mapping[str, int]) -> None:
        """How many rows are gone, when that was last said a while ago."""
        if not self._console.is_terminal or time.monotonic() - self._last < 0.2:  # noqa: PLR2004  as eyes follow
            return
        self._last = time.monotonic()
        line = ", ".join(f"{table} {rows}" for table, rows in removed.items())
        self._console.print(f"removed: {line}", end="\r", highlight=False)
