"""The store's unit tests, on PostgreSQL, and what only PostgreSQL can do to it."""

import importlib.util
import random
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.exc import DBAPIError

from workers.errors import StoreUnavailable
from workers.store import keys, tables
from workers.store.engine import begin, create_store_engine, is_outage, moment, outages
from workers.store.migrate import migrate
from workers.store.purge import purge

pytestmark = pytest.mark.broker

SHARED = Path(__file__).parents[1] / "unit" / "workers" / "store"
for name in (
    "test_batches",
    "test_checkpoints",
    "test_engine",
    "test_groups",
    "test_holders",
    "test_keys",
    "test_migrate",
    "test_orders",
    "test_outbox",
    "test_publisher_outbox",
    "test_purge",
    "test_requests",
    "test_ticks",
    "test_tokens",
    "test_turns",
):
    spec = importlib.util.spec_from_file_location(f"{name}_on_postgres", SHARED / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Test functions, and the fixtures they ask for: each finds `engine` below instead of the one on SQLite.
    shared = {key: value for key, value in vars(module).items() if not key.startswith("_")}
    twice = [key for key in shared if key.startswith("test_") and key in globals()]
    assert not twice, f"one would hide the other: {twice}"
    globals().update(shared)


@pytest.fixture
def empty_engine(postgres):
    """A store before its first migration."""
    engine = create_store_engine(postgres)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def migrated(make_database):
    """The name of a database with the newest tables, to be copied: that is faster than to migrate anew."""
    with make_database() as url:
        engine = create_store_engine(url)
        migrate(engine, package=None)
        engine.dispose()
        yield url.rpartition("/")[2]


@pytest.fixture
def engine(make_database, migrated):
    with make_database(like=migrated) as url:
        engine = create_store_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture
def administrator(engine):
    """Another connection to the same database."""
    administrator = create_engine(engine.url, isolation_level="AUTOCOMMIT")
    with administrator.connect() as connection:
        yield connection
    administrator.dispose()


def pid_of(connection):
    return connection.execute(text("SELECT pg_backend_pid()")).scalar_one()


def cut(administrator, pid):
    administrator.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


def test_every_connection_has_its_deadlines(engine):
    with engine.connect() as connection:
        names = ("statement_timeout", "lock_timeout", "TimeZone", "transaction_isolation")
        found = [connection.execute(text(f"SHOW {name}")).scalar_one() for name in names]
        assert found == ["30s", "10s", "UTC", "read committed"]
        parameters = connection.connection.dbapi_connection.info.get_parameters()
    assert {name: parameters[name] for name in ("connect_timeout", "tcp_user_timeout", "keepalives_idle")} == {
        "connect_timeout": "5",
        "tcp_user_timeout": "15000",
        "keepalives_idle": "5",
    }


def test_options_of_the_address_are_kept_beside_ours(engine):
    url = engine.url.update_query_dict({"options": "-c work_mem=7MB"}).render_as_string(hide_password=False)
    other = create_store_engine(url)
    with other.connect() as connection:
        assert connection.execute(text("SHOW work_mem")).scalar_one() == "7MB"
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "10s"
    other.dispose()


def test_a_store_that_refuses_connections_is_unavailable_at_once():
    engine = create_store_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="onnection") as caught, begin(engine):
        pass
    assert time.monotonic() - started < 10
    assert caught.value.safe_to_retry


def test_a_connection_cut_in_the_middle_is_an_outage(engine, administrator):
    with engine.connect() as connection:
        cut(administrator, pid_of(connection))
        with pytest.raises(StoreUnavailable):
            keys.find(connection, "actor", "key")


def test_a_connection_cut_before_the_commit_leaves_the_outcome_open_and_says_so(engine, administrator):
    with pytest.raises(StoreUnavailable, match="may have happened"), begin(engine) as connection:
        cut(administrator, pid_of(connection))


def test_a_connection_cut_while_idle_is_replaced_unnoticed(engine, administrator):
    with begin(engine) as connection:
        pid = pid_of(connection)
    cut(administrator, pid)
    with begin(engine) as connection:
        assert pid_of(connection) != pid


def test_a_key_that_stays_locked_is_an_outage(engine):
    request = keys.Request("a", "k", message_id="m", arguments_hash="x", attempt=1, generation=0)
    with begin(engine) as first, begin(engine) as second:
        keys.claim(first, request, holder="h1")
        second.execute(text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            keys.claim(second, request, holder="h2")
        second.rollback()


def test_a_statement_that_takes_too_long_is_an_outage(engine):
    with engine.connect() as connection:
        connection.execute(text("SET LOCAL statement_timeout = '50ms'"))
        with pytest.raises(StoreUnavailable, match="statement timeout"), outages("it took too long"):
            connection.execute(text("SELECT pg_sleep(10)"))


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1/0", "SELECT repeat('xx', 2000000000)", "INSERT INTO dutiful_keys (actor, key) VALUES ('a', 'k')"],
)
def test_a_statement_that_can_never_work_is_no_outage(engine, statement):
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(text(statement))
    assert not is_outage(caught.value)


def test_a_key_too_long_for_an_index_is_no_outage(engine):
    letters = random.Random(1)  # a text that can't be compressed
    key = "".join(chr(letters.randrange(0x4E00, 0x9FFF)) for _ in range(4000))
    with pytest.raises(DBAPIError) as caught, begin(engine) as connection:
        keys.end(connection, keys.Ending("a", key, "h", 1, "done"))
    assert not is_outage(caught.value)


def test_a_write_to_a_standby_is_an_outage(engine):
    with engine.connect() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(StoreUnavailable, match="read-only"):
            keys.end(connection, keys.Ending("a", "k", "h", 1, "done"))


def test_a_purge_passes_over_a_key_that_somebody_has_locked_and_waits_for_nobody(engine):
    old = {"state": "done", "attempt": 1, "generation": 0, "fence": 1}
    with begin(engine) as connection:
        for key in ("locked", "free"):
            then = moment(connection) - timedelta(days=8)
            row = old | {"actor": "a", "key": key, "created_at": then, "updated_at": then}
            connection.execute(insert(tables.keys).values(row))

    with begin(engine) as connection:
        connection.execute(select(tables.keys).where(tables.keys.c.key == "locked").with_for_update())
        assert purge(engine, key_ttl=timedelta(days=7))["keys"] == 1

    assert purge(engine, key_ttl=timedelta(days=7))["keys"] == 1
