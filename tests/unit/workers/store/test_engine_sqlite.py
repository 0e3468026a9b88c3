import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from workers.errors import ConfigurationError, StoreUnavailable
from workers.store.engine import begin, create_store_engine, now, outages


def test_sqlite_is_set_up_to_survive_a_power_cut(engine):
    with engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 10_000, "foreign_keys": 1}


def test_a_transaction_takes_the_write_lock_at_its_beginning(engine):
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        other = sqlite3.connect(engine.url.database, timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_a_store_that_stays_locked_is_unavailable_and_safe_to_try_again(engine):
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 50")  # the pool hands out this connection again below
    other = sqlite3.connect(engine.url.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="database is locked") as caught, begin(engine):
        pass
    other.close()
    assert caught.value.safe_to_retry
    with begin(engine) as connection:
        connection.execute(text("SELECT 1"))


@pytest.mark.parametrize("kind", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_new_file_that_another_process_is_just_setting_up_is_waited_for(tmp_path, kind):
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None, check_same_thread=False)
    other.execute(f"BEGIN {kind}")
    release = threading.Timer(0.1, other.rollback)
    release.start()
    with begin(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    release.join()
    other.close()
    engine.dispose()


def test_a_store_whose_file_is_gone_is_unavailable(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    engine = create_store_engine(f"sqlite:///{folder}/store.db")
    folder.rmdir()
    with pytest.raises(StoreUnavailable, match="unable to open"), begin(engine):
        pass


def test_a_used_up_pool_is_an_outage(engine, monkeypatch):
    monkeypatch.setattr(engine.pool, "_timeout", 0.01)
    monkeypatch.setattr(engine.pool, "_max_overflow", 0)
    connections = [engine.connect() for _ in range(10)]
    with pytest.raises(StoreUnavailable), outages("no connection"):
        engine.connect()
    for connection in connections:
        connection.close()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="no such folder") as caught:
        create_store_engine(f"sqlite:///{tmp_path}/nowhere/store.db")
    assert str(tmp_path / "nowhere") in caught.value.expected


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_store_in_memory_is_refused(url):
    with pytest.raises(ConfigurationError, match="path of a file"):
        create_store_engine(url)


def test_the_clock_of_a_sqlite_store_can_be_moved(tmp_path):
    moments = [datetime(2026, 3, 1, tzinfo=UTC)]
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db", clock=lambda: moments[0])
    with begin(engine) as connection:
        before = now(connection)
        moments[0] += timedelta(days=1)
        assert now(connection) - before == timedelta(days=1)
    engine.dispose()
