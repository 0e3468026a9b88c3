"""The engine connects to the store's database, with a deadline on everything.

Everything here works the same on SQLite and on PostgreSQL; where they differ, it is said beside the line.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Table,
    bindparam,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from workers.clock import utcnow
from workers.errors import ConfigurationError, StoreUnavailable
from workers.store import sqlite as embedded
from workers.store.sqlite import CLOCK, LOCK_SECONDS, READ_ONLY, RELAXED

_POOL_SECONDS = 10
_POSTGRESQL_ARGUMENTS: Mapping[str, Any] = {
    "connect_timeout": 5,
    # A silent cut is noticed by what we send (tcp_user_timeout) or, while we wait, by keepalives after 5 + 3 x 5 s.
    "tcp_user_timeout": 15_000,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
_POSTGRESQL_OPTIONS = f"-c statement_timeout=30s -c lock_timeout={LOCK_SECONDS}s -c timezone=UTC"
# What a statement that is right can end with when the database is unwell. SQLITE_ERROR, "no such table", is not there.
_SQLITE_OUTAGES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
# Classes of SQLSTATE: connection lost, conflict between transactions, no resources, lock not available,
# stopped by a timeout or an administrator, system error. Class 54, a value too large, is the job's own fault.
_POSTGRESQL_OUTAGES = {"08", "40", "53", "55", "57", "58"}
_POSTGRESQL_STANDBY = "25006"  # read-only: the address leads to a server that is not the primary any more


def create_store_engine(
    url: str, *, pool_size: int = 10, ca_path: Path | None = None, clock: Callable[[], datetime] = utcnow
) -> Engine:
    """The engine of the store.

    Parameters:
      url: `sqlite:////path/to/file.db` or `postgresql+psycopg://user:password@host:port/name`.
      pool_size: connections that one process keeps open; it opens up to ten more at a peak, so that the lease's
        renewal never waits for jobs.
      ca_path: the authorities that may sign PostgreSQL's certificate; None: the address says whether there is TLS.
      clock: what `now()` asks on SQLite, for tests; PostgreSQL has a clock of its own.

    Raises:
      ConfigurationError: the address can't be that of a store.
    """
    try:
        address = make_url(url)
    except ArgumentError:
        raise _unfit("no address") from None
    options: dict[str, Any] = {
        "pool_size": pool_size,
        "pool_timeout": _POOL_SECONDS,
        "hide_parameters": True,  # arguments of jobs don't belong in tracebacks
        "execution_options": {CLOCK: clock},
    }
    match address.drivername:
        case "sqlite" | "sqlite+pysqlite":
            return embedded.create(address, options)
        case "postgresql" | "postgresql+psycopg":
            return _postgresql_engine(address, options, ca_path)
        case other:
            raise _unfit(other)


def _unfit(received: str) -> ConfigurationError:
    return ConfigurationError(
        "the store can't be used",
        expected="an address that begins with sqlite:/// or postgresql+psycopg://",
        received=received,
    )


def _postgresql_engine(address: URL, options: dict[str, Any], ca_path: Path | None) -> Engine:
    from workers.store import postgresql as patient  # noqa: PLC0415  who has SQLite needs no psycopg

    given = address.query.get("options", "")
    theirs = given if isinstance(given, str) else " ".join(given)
    engine = create_engine(
        address.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
        connect_args={
            **_POSTGRESQL_ARGUMENTS,
            **patient.tls(address.query.get("sslmode"), ca_path),
            "options": f"{_POSTGRESQL_OPTIONS} {theirs}".rstrip(),
        },
        isolation_level="READ COMMITTED",  # a claim reads again what it waited for
        pool_pre_ping=True,
        **options,
    )

    door = patient.Door()

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, where: list[Any], how: dict[str, Any]) -> object:
        return door.connect(where, how)

    return engine


def read_only(engine: Engine) -> Engine:
    """The same engine for transactions that only read: on SQLite they neither wait for writers nor hold them up."""
    return engine.execution_options(**{READ_ONLY: True})


def relaxed(engine: Engine) -> Engine:
    """The same engine for commits that a power cut may undo: they don't wait for the disk."""
    return engine.execution_options(**{RELAXED: True})


@contextmanager
def begin(engine: Engine) -> Iterator[Connection]:
    """A transaction, as `engine.begin()`, where an outage before or at the commit is StoreUnavailable.

    Errors of the block itself pass through: it may talk to other databases.
    """
    with outages("a transaction could not begin"):
        connection = engine.connect()
    with connection, embedded.turn(connection):
        with outages("a transaction could not begin"):
            transaction = connection.begin()
            if connection.dialect.name == "postgresql" and connection.get_execution_options().get(RELAXED):
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
        with transaction:
            yield connection
            if transaction.is_active:  # else the block has rolled it back
                with outages("a commit was not confirmed; it may have happened"):
                    transaction.commit()


def moment(connection: Connection) -> ColumnElement[datetime] | datetime:
    """The time by the store's clock, to be used inside a statement: it costs no round trip."""
    if connection.dialect.name == "postgresql":
        return func.clock_timestamp(type_=DateTime(timezone=True))
    clock: Callable[[], datetime] = connection.get_execution_options()[CLOCK]
    return clock()


def now(connection: Connection) -> datetime:
    """The time by the store's clock, aware, in UTC."""
    here = moment(connection)
    if isinstance(here, datetime):
        return here
    return connection.execute(select(here)).scalar_one().astimezone(UTC)


def stamp(dialect: str) -> ColumnElement[Any]:
    """The time by the store's clock, to be written: one expression for all rows, which have what `stamped` says."""
    return func.clock_timestamp() if dialect == "postgresql" else bindparam("now")


def stamped(connection: Connection) -> dict[str, str]:
    """What each row must have where `stamp` is written: the time, as SQLite keeps it."""
    here = moment(connection)
    if not isinstance(here, datetime):
        return {}
    return {"now": here.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")}


def insert_missing(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that passes over rows whose key is there."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing()


def insert_unless_there(connection: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert a row, unless one with its key is there. True: inserted."""
    statement = insert_missing(connection.dialect.name, table).values(values)
    # SQLAlchemy keeps the count of an INSERT only when asked to.
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1


def is_outage(error: Exception) -> bool:
    """Whether the error is the database's (unreachable, too slow, full), and not the statement's own."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return code & 0xFF in _SQLITE_OUTAGES  # the lowest byte; the others say more about it
    state: str | None = getattr(cause, "sqlstate", None)
    if error.connection_invalidated or state is None:
        return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return state[:2] in _POSTGRESQL_OUTAGES or state == _POSTGRESQL_STANDBY


@contextmanager
def outages(what: str) -> Iterator[None]:
    """Turn an outage inside the block into StoreUnavailable; other errors pass as they are."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as error:
        if not is_outage(error):
            raise
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        refusal = getattr(cause, "refusal", None)  # of a certificate, which is said in other words
        if isinstance(refusal, StoreUnavailable):
            raise refusal from error
        raise StoreUnavailable(
            what, expected="an answer from the store in time", received=f"{type(cause).__name__}: {cause}".strip()
        ) from error
