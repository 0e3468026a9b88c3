"""SQLite needs care that a server's database doesn't: one writer at a time, and a clock."""

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event

from workers.errors import ConfigurationError, StoreUnavailable

# What a connection is told by its execution options.
CLOCK: Final = "dutiful_clock"
READ_ONLY: Final = "dutiful_read_only"
RELAXED: Final = "dutiful_relaxed"
_TURN: Final = "dutiful_turn"
_LEVEL: Final = "dutiful_synchronous"
LOCK_SECONDS: Final = 10


def create(address: URL, options: Mapping[str, Any]) -> Engine:
    """The engine of a store in a file.

    Raises:
      ConfigurationError: the file can't be opened.
    """
    if not address.database or address.database == ":memory:" or address.query:
        raise ConfigurationError(
            "the store can't be used", expected="sqlite:/// with the path of a file", received=str(address)
        )
    folder = Path(address.database).absolute().parent
    if not folder.is_dir():
        raise ConfigurationError(
            "the store's file can't be opened", expected=f"a folder {folder}", received="no such folder"
        )
    engine = create_engine(address, connect_args={"timeout": LOCK_SECONDS}, **options)
    engine = engine.execution_options(**{_TURN: threading.Lock()})

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; _begin below does
        _use_wal(connection)
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        said = connection.get_execution_options()
        if said.get(READ_ONLY):
            connection.exec_driver_sql("BEGIN")
            return
        # What is committed survives a power cut, unless it needn't: then nobody waits for the disk.
        level = "NORMAL" if said.get(RELAXED) else "FULL"
        if connection.info.get(_LEVEL) != level:
            connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
            connection.info[_LEVEL] = level
        # A transaction that reads first and writes later fails at once, without waiting, when another wrote between.
        # So it takes the write lock at its beginning.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def turn(connection: Connection) -> Iterator[None]:
    """One writer of this process at a time: SQLite's own way to wait is to sleep, and to look again too late.

    Raises:
      StoreUnavailable: another thread writes for too long.
    """
    said = connection.get_execution_options()
    lock: threading.Lock | None = said.get(_TURN)
    if lock is None or said.get(READ_ONLY):
        yield
        return
    if not lock.acquire(timeout=LOCK_SECONDS):
        raise StoreUnavailable(
            "a transaction could not begin", expected="the store in time", received="another thread that writes"
        )
    try:
        yield
    finally:
        lock.release()


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch a new file over. SQLite does not wait for others here, so processes that start together must try again."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
