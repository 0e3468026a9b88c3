"""Migrating brings the store's tables, then those of a package of jobs, to the newest schema.

Alembic does it, as a library: there is no alembic.ini. A package of jobs needs only a folder `migrations/versions` with
files of plain `revision`, `down_revision`, `upgrade()` and `downgrade()`; each set has a version table of its own. A
set runs in one transaction under a lock: several processes can migrate at once, and a failure leaves nothing half done.

A migration that takes something away also says `minimum = "0007"`: the oldest revision that a release must know to work
with the schema from then on. An older release then refuses to start.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, delete, insert, inspect, select, text

from workers.errors import ConfigurationError, StoreError
from workers.store import tables
from workers.store.engine import outages, read_only

_log = logging.getLogger(__name__)
OURS = "dutiful"  # the name of the store's own set
_OURS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 6_481_237_015_004_211  # any number, as long as every release has the same
_alembic = threading.Lock()  # alembic.op belongs to the whole process


class Status(NamedTuple):
    """How far one set of migrations is.

    Attributes:
      current: where the database is; None before the first.
      head: the newest that this release knows.
      is_behind: this release has migrations that the database has not.
      needs: the revision that a release must know to work with the database, where this one doesn't.
    """

    name: str
    current: str | None
    head: str | None
    is_behind: bool = False
    needs: str | None = None


class _Set(NamedTuple):
    name: str
    version_table: str
    scripts: ScriptDirectory


def migrate(engine: Engine, package: str | None = "actors") -> None:
    """Upgrade the store's tables, then those of the package, if it has any.

    A schema that is newer than this release is left alone: a release that was rolled back works with it.

    Raises:
      ConfigurationError: there is no such package.
      StoreUnavailable: the database can't be reached, or another migration takes longer than five minutes.
    """
    with _alembic:
        for each in _sets(package):
            with outages(f"the migrations of {each.name} did not run"), _locked(engine) as connection:
                _upgrade(connection, each)


def status(engine: Engine, package: str | None = "actors") -> list[Status]:
    """How far each set of migrations is. Changes nothing."""
    with outages("the store's schema could not be read"), read_only(engine).connect() as connection:
        return [_status(connection, each) for each in _sets(package)]


def _status(connection: Connection, each: _Set) -> Status:
    current, heads = _current(connection, each), each.scripts.get_heads()
    known = {script.revision for script in each.scripts.walk_revisions()}
    is_behind = set(current) <= known and set(current) != set(heads)
    minimum = _minimum(connection, each)
    return Status(each.name, _joined(current), _joined(heads), is_behind, None if minimum in known else minimum)


def _minimum(connection: Connection, each: _Set) -> str | None:
    """What the migrations have stated, perhaps those of a newer release."""
    columns = tables.schema_minimums.c
    if not inspect(connection).has_table(tables.schema_minimums.name):
        return None
    return connection.scalar(select(columns.revision).where(columns.name == each.name))


def _state_minimum(connection: Connection, each: _Set) -> None:
    stated = (getattr(script.module, "minimum", None) for script in each.scripts.walk_revisions())  # newest first
    minimum = next(filter(None, stated), None)
    if minimum is not None:
        connection.execute(delete(tables.schema_minimums).where(tables.schema_minimums.c.name == each.name))
        connection.execute(insert(tables.schema_minimums).values(name=each.name, revision=minimum))


def _sets(package: str | None) -> Iterator[_Set]:
    yield _Set(OURS, "dutiful_alembic_version", ScriptDirectory(_OURS))
    if package is None:
        return
    folder = _folder(package) / "migrations"
    if (folder / "versions").is_dir():
        yield _Set(package, f"{package.replace('.', '_')}_alembic_version", ScriptDirectory(folder))


def _folder(package: str) -> Path:
    """Where a package lies, without importing it: that would connect it to a broker."""
    try:
        spec = find_spec(package)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "migrations can't be found", expected="the name of a package that Python can import", received=package
        )
    return Path(next(iter(spec.submodule_search_locations)))


@contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    """One transaction that no other migration shares the time with."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            with connection.begin():
                connection.execute(text("SET LOCAL lock_timeout = '5min'"))
                connection.execute(text("SET LOCAL statement_timeout = '15min'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
                # Back to a short wait: who waits for a table's lock holds up everybody behind it.
                connection.execute(text("SET LOCAL lock_timeout = '10s'"))
                yield connection
            return
        # SQLite alters a table by copying and dropping it; with foreign keys on, dropping it deletes what refers to it.
        with _without_foreign_keys(connection), connection.begin():
            yield connection
            broken = connection.execute(text("PRAGMA foreign_key_check")).all()
            if broken:
                raise StoreError(
                    "a migration broke references between tables, and was undone",
                    expected="rows that refer to rows that are there",
                    received=", ".join(sorted({str(row[0]) for row in broken})),
                )


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    cursor = connection.connection.cursor()  # below SQLAlchemy: inside a transaction the pragma does nothing
    cursor.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()


def _upgrade(connection: Connection, each: _Set) -> None:
    unknown = set(_current(connection, each)) - {script.revision for script in each.scripts.walk_revisions()}
    if unknown:
        _log.warning("schema of %s is newer than this release, left alone: %s", each.name, _joined(unknown))
        return

    def steps(current: str, _context: MigrationContext) -> list[RevisionStep]:
        return each.scripts._upgrade_revs("heads", current)  # noqa: SLF001  what alembic.command.upgrade calls

    with EnvironmentContext(Config(), each.scripts, fn=steps) as environment:
        environment.configure(connection=connection, version_table=each.version_table, transactional_ddl=True)
        environment.run_migrations()
    _state_minimum(connection, each)


def _current(connection: Connection, each: _Set) -> tuple[str, ...]:
    context = MigrationContext.configure(connection, opts={"version_table": each.version_table})
    return context.get_current_heads()


def _joined(revisions: set[str] | list[str] | tuple[str, ...]) -> str | None:
    return ", ".join(sorted(revisions)) or None
