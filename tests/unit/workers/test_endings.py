"""Endings are recorded by the thread, in a real store: its file is locked where the store must be away."""

import logging
import threading
import time
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, delete, event, select

from workers.endings import Endings
from workers.errors import ClaimLost, StoreUnavailable
from workers.store import batches, tables
from workers.store.engine import begin, create_store_engine
from workers.store.keys import Ending, Request
from workers.store.migrate import migrate

DEADLINE_SECONDS = 10


class Told:
    """What each ending was told, in order, and by which thread."""

    def __init__(self):
        self.all = []
        self.threads = set()

    def __call__(self, name):
        def told(error):
            self.threads.add(threading.current_thread().name)
            self.all.append((name, error))

        return told

    @property
    def errors(self):
        return {name: type(error) for name, error in self.all}


@pytest.fixture
def engine(tmp_path):
    """A store that gives up after 50 ms where another one has the lock."""
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")
    migrate(engine, package=None)
    engine.dispose()

    @event.listens_for(engine, "connect")
    def _be_impatient(connection, _record):
        connection.execute("PRAGMA busy_timeout = 50")

    yield engine
    engine.dispose()


@pytest.fixture
def endings(engine):
    endings = Endings(engine)
    yield endings
    if endings._thread.is_alive():
        endings.stop()
    assert not endings._thread.is_alive()


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def commits(engine):
    """How many transactions were committed, from its creation on."""
    seen = []
    event.listen(engine, "commit", lambda _connection: seen.append(1))
    return seen


@contextmanager
def away(engine):
    """Somebody else has the store's lock."""
    other = create_engine(engine.url)
    with other.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield
        connection.rollback()
    other.dispose()


def claimed(engine, count, state="done"):
    """The endings of as many jobs that this process runs."""
    names = [f"k{number}" for number in range(count)]
    with begin(engine) as connection:
        batches.claim(connection, [Request("a", name, "m", "x", 1, 0) for name in names], holder="me")
    return [Ending("a", name, "me", 1, state) for name in names]


def states(engine):
    with begin(engine) as connection:
        return dict(connection.execute(select(tables.keys.c.key, tables.keys.c.state)).all())


def eventually(condition):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def test_an_ending_is_recorded_before_it_is_told(engine, endings):
    [ending] = claimed(engine, 1)
    seen = []
    endings.start()
    endings.add(ending, lambda error: seen.append((error, states(engine))))
    assert endings.flush()
    assert seen == [(None, {"k0": "done"})]


def test_endings_that_are_there_together_share_a_commit(engine, endings, told, commits):
    waiting = claimed(engine, 100)
    commits.clear()
    for each in waiting:
        endings.add(each, told(each.key))
    endings.start()
    assert endings.flush()
    assert len(commits) == 1
    assert [name for name, _ in told.all] == [each.key for each in waiting]
    assert told.threads == {"dutiful-endings"}


def test_endings_of_many_threads_share_commits(engine, endings, told, commits):
    waiting = claimed(engine, 400)
    commits.clear()
    endings.start()

    def work(mine):
        for each in mine:
            endings.add(each, told(each.key))

    threads = [threading.Thread(target=work, args=(waiting[number::8],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert endings.flush()
    assert set(states(engine).values()) == {"done"}
    assert told.errors == {each.key: type(None) for each in waiting}
    assert len(told.all) == 400
    assert len(commits) < 100


def test_endings_of_every_kind_in_any_order_share_a_commit(engine, endings, told, commits):
    first, second, third, fourth = claimed(engine, 4)
    commits.clear()
    mixed = [
        Ending("a", fourth.key, "me", 1, "waiting"),
        Ending("a", second.key, "me", 1, "dead"),
        Ending("a", first.key, "me", 1, "waiting", attempt=2),
        third,
    ]
    for each in mixed:
        endings.add(each, told(each.key))
    endings.start()
    assert endings.flush()
    assert len(commits) == 1
    assert [name for name, _ in told.all] == ["k3", "k1", "k0", "k2"]
    assert states(engine) == {"k0": "waiting", "k1": "dead", "k2": "done", "k3": "waiting"}


def test_a_lost_claim_tells_only_its_own(engine, endings, told):
    first, second, third = claimed(engine, 3)
    stranger = Ending("a", second.key, "another", 1, "done")
    for each in (first, stranger, third):
        endings.add(each, told(each.key))
    endings.start()
    assert endings.flush()
    assert told.errors == {"k0": type(None), "k1": ClaimLost, "k2": type(None)}
    assert states(engine) == {"k0": "done", "k1": "running", "k2": "done"}


def test_an_ending_whose_commit_was_not_answered_is_told_that_it_is_recorded(engine, endings, told):
    waiting = claimed(engine, 2)
    with begin(engine) as connection:
        assert batches.end(connection, waiting)
    for each in waiting:
        endings.add(each, told(each.key))
    endings.start()
    assert endings.flush()
    assert told.errors == {"k0": type(None), "k1": type(None)}


def test_an_ending_whose_row_is_gone_is_recorded_with_the_others(engine, endings, told):
    first, second = claimed(engine, 2)
    with begin(engine) as connection:
        connection.execute(delete(tables.keys).where(tables.keys.c.key == first.key))
    for each in (first, second):
        endings.add(each, told(each.key))
    endings.start()
    assert endings.flush()
    assert told.errors == {"k0": type(None), "k1": type(None)}
    assert states(engine) == {"k0": "done", "k1": "done"}


def test_while_the_store_is_away_nobody_is_told_and_later_all_are(engine, endings, told, caplog):
    first, second = claimed(engine, 2)
    with caplog.at_level(logging.WARNING):
        with away(engine):
            endings.start()
            endings.add(first, told(first.key))
            eventually(lambda: "endings not recorded, trying every second" in caplog.text)
            endings.add(second, told(second.key))
            assert not endings.flush(0.3)
            assert told.all == []
        assert endings.flush()
    assert told.errors == {"k0": type(None), "k1": type(None)}
    assert states(engine) == {"k0": "done", "k1": "done"}
    assert caplog.text.count("trying every second") == 1
    assert "endings recorded again" in caplog.text


def test_a_stop_while_the_store_is_away_tells_that_it_is_and_takes_no_longer(engine, endings, told, caplog):
    first, second = claimed(engine, 2)
    with away(engine):
        endings.start()
        endings.add(first, told(first.key))
        eventually(lambda: "trying every second" in caplog.text)
        endings.add(second, told(second.key))
        began = time.monotonic()
        endings.stop()
        assert time.monotonic() - began < 8
        assert told.errors == {"k0": StoreUnavailable, "k1": StoreUnavailable}
    assert set(states(engine).values()) == {"running"}


def test_a_stop_records_what_is_left(engine, endings, told):
    waiting = claimed(engine, 20)
    endings.start()
    for each in waiting:
        endings.add(each, told(each.key))
    endings.stop()
    assert len(told.all) == 20
    assert set(states(engine).values()) == {"done"}


def test_a_flush_waits_until_the_last_is_told(engine, endings):
    [ending] = claimed(engine, 1)
    may_end, told = threading.Event(), []
    endings.start()
    endings.add(ending, lambda _error: told.append(may_end.wait(DEADLINE_SECONDS)))
    assert not endings.flush(0.1)
    may_end.set()
    assert endings.flush()
    assert told == [True]


def test_a_flush_of_nothing_is_done_at_once(endings):
    endings.start()
    assert endings.flush(0)


def test_a_callback_that_fails_costs_the_others_nothing(engine, endings, told, caplog):
    first, second, third = claimed(engine, 3)

    def fail(_error):
        raise ZeroDivisionError

    endings.add(first, fail)
    endings.add(second, told(second.key))
    endings.start()
    assert endings.flush()
    endings.add(third, told(third.key))
    assert endings.flush()
    assert told.errors == {"k1": type(None), "k2": type(None)}
    assert "could not be settled" in caplog.text


def test_an_error_nobody_foresaw_is_told_to_its_batch_and_the_next_is_recorded(engine, endings, told, caplog):
    first, second = claimed(engine, 2)
    endings.start()
    endings.add(Ending("a", object(), "me", 1, "done"), told("odd"))
    eventually(lambda: told.all)
    endings.add(first, told(first.key))
    endings.add(second, told(second.key))
    assert endings.flush()
    assert told.errors["odd"] is not type(None)
    assert states(engine) == {"k0": "done", "k1": "done"}
    assert "handed back" in caplog.text
