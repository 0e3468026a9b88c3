"""The import on a real broker and a real database, run by `dramatiq actors`."""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from processes import unset
from sqlalchemy import select, text

from actors.content.tables import feed_batches, feeds, metadata, posts, rejections
from workers.store.engine import create_store_engine
from workers.store.migrate import migrate

pytestmark = pytest.mark.broker

CHECKOUT = Path(__file__).parents[2]
SHARED = CHECKOUT / "tests" / "unit" / "actors" / "content"
DRAMATIQ = Path(sys.executable).with_name("dramatiq")
PUBLISH = "import sys; from actors.content import import_feed; import_feed.send(source=sys.argv[1])"
LONGEST_IMPORT_SECONDS = 90
IDENTITIES = {"feed_id", "closed_at"}  # which run it was, and when: not what was found


def shared(name):
    """The unit tests of a module, or its fixtures: here they find `engine` below instead of the one on SQLite."""
    spec = importlib.util.spec_from_file_location(f"{name}_on_postgres", SHARED / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


storing = shared("test_storing")
globals().update({name: value for name, value in vars(storing).items() if name.startswith("test_")})
runs, record = storing.runs, shared("conftest").record


@pytest.fixture
def engine(postgres):
    """A database of its own, migrated."""
    engine = create_store_engine(postgres)
    migrate(engine, "actors")
    yield engine
    engine.dispose()


@pytest.fixture
def site(tmp_path):
    """The site's folders, as the environment says them."""
    (tmp_path / "feeds").mkdir()
    return {
        "SITE_FEEDS_DIRECTORY": str(tmp_path / "feeds"),
        "SITE_PUBLIC_DIRECTORY": str(tmp_path / "public"),
        "SITE_BATCH_RECORDS": "20",
        "SITE_MAX_WAITING_BATCHES": "8",
    }


@pytest.fixture
def feed(tmp_path, site, record):
    """A feed of 600 records: one in fifty broken, one in twenty a newer version of an earlier post."""
    chance = random.Random(5)
    lines = []
    for number in range(600):
        if number % 50 == 49:
            lines.append(chance.choice([b"{", b"caf\xe9", json.dumps(record(number, title=None)).encode()]))
        elif number % 20 == 19:
            lines.append(json.dumps(record(number - 7, version=2)).encode())
        else:
            lines.append(json.dumps(record(number)).encode())
    (tmp_path / "feeds" / "posts.ndjson").write_bytes(b"\n".join(lines))
    return "posts.ndjson"


@pytest.fixture
def environment(rabbitmq, postgres, site):
    ours = {"DUTIFUL_RABBITMQ__URL": rabbitmq, "DUTIFUL_STORE__URL": postgres, "DUTIFUL_METRICS__PORT": "0"}
    return unset() | site | ours | {"PYTHONPATH": str(CHECKOUT)}


class Worker:
    """A worker as people start it; the group is its own, so that killing it leaves nothing behind."""

    def __init__(self, environment, log):
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(DRAMATIQ), "actors", "-p", "1", "-t", "4"],
                cwd=CHECKOUT,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self):
        """SIGKILL every process of it at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise


@pytest.fixture
def start_worker(environment, engine, tmp_path):
    workers = []

    def start():
        workers.append(Worker(environment, tmp_path / "worker.log"))
        return workers[-1]

    yield start
    for worker in workers:
        worker.stop()


def publish(environment, source):
    subprocess.run([sys.executable, "-c", PUBLISH, source], cwd=CHECKOUT, env=environment, check=True, timeout=30)


def until_done(engine, count, log):
    """Wait until so many feeds are done."""

    def done():
        with engine.begin() as connection:
            return list(connection.execute(select(feeds.c.state)).scalars()) == ["done"] * count

    until(done, lambda: f"the worker said:\n{log.read_text()[-4000:]}")


def until_batches(engine, count):
    """Wait until so many batches are done, or all of them."""

    def there():
        with engine.begin() as connection:
            found = connection.execute(select(feeds.c.batches_done, feeds.c.state)).one_or_none()
        return found and (found.batches_done >= count or found.state == "done")

    until(there)


def until(condition, say=lambda: ""):
    deadline = time.monotonic() + LONGEST_IMPORT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"it did not come to that in time; {say()}")
        time.sleep(0.02)


def rows(engine):
    """The posts, and the rejections without which run found them and when they were closed."""
    columns = [column for column in rejections.columns if column.name not in IDENTITIES]
    with engine.begin() as connection:
        found = [
            *connection.execute(select(posts)),
            *connection.execute(select(rejections.c.closed_at.is_(None), *columns)),
        ]
        return sorted((tuple(row) for row in found), key=str)


def test_the_migrated_tables_are_those_of_the_code_on_postgresql(engine):
    ours = {"compare_type": True, "include_name": lambda name, kind, _: kind != "table" or name in metadata.tables}
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=ours), metadata) == []


def some_batches(chance, record):
    """Batches full of a few posts in a few versions, sound and broken."""
    for start in range(1, 200, 5):
        numbers = [(chance.randint(1, 8), chance.randint(1, 4)) for _ in range(5)]
        some = [record(*number, **chance.choice([{}, {"title": None}])) for number in numbers]
        yield list(enumerate(some, start=start))


@pytest.mark.parametrize("seed", range(3))
def test_batches_stored_at_the_same_time_end_in_the_same_rows(engine, runs, record, seed):
    chance = random.Random(seed)
    batches = list(some_batches(chance, record))
    for batch in batches:
        storing.put(engine, runs[0], *batch)
    expected = storing.stored(engine)
    with engine.begin() as connection:
        connection.execute(rejections.delete())
        connection.execute(posts.delete())
    with ThreadPoolExecutor(8) as pool:
        again = chance.sample(batches * 2, k=len(batches) * 2)
        list(pool.map(lambda batch: storing.put(engine, runs[0], *batch), again))
    assert storing.stored(engine) == expected


@pytest.mark.parametrize("titles", [("sound", None), (None, "sound")])
def test_a_rejection_and_its_correction_stored_at_the_same_time_see_each_other(engine, runs, record, titles):
    first = storing.items([(1, record(1, title=titles[0]))])
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            storing.store(connection, storing.Origin(runs[0], "feed.ndjson"), first, storing.LIMIT)
            other = pool.submit(storing.put, engine, runs[0], (2, record(1, title=titles[1])))
            until(lambda: other.done() or waits_for_a_lock(connection))
        other.result(timeout=10)
    assert storing.opened(engine) == []


def waits_for_a_lock(connection):
    return connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one() > 0


def test_a_feed_imported_twice_ends_in_the_same_rows(engine, environment, feed, start_worker):
    worker = start_worker()
    publish(environment, feed)
    until_done(engine, 1, worker.log)
    first = rows(engine)
    publish(environment, feed)
    until_done(engine, 2, worker.log)
    assert rows(engine) == first
    with engine.begin() as connection:
        found = connection.execute(select(feeds).order_by(feeds.c.id)).all()
        payloads = connection.execute(select(feed_batches.c.payload)).scalars().all()
    assert [run.imported + run.unchanged + run.conflicting + run.rejected for run in found] == [600, 600]
    assert found[1].imported == 0
    assert set(payloads) == {None}


@pytest.mark.long
def test_a_worker_killed_again_and_again_ends_in_the_same_rows(engine, environment, feed, start_worker):
    publish(environment, feed)
    worker = start_worker()
    until_done(engine, 1, worker.log)
    expected = rows(engine)
    with engine.begin() as connection:
        for table in (rejections, feed_batches, feeds, posts):
            connection.execute(table.delete())
    publish(environment, feed)
    for done in (1, 5, 12, 20, 28):
        until_batches(engine, done)
        worker.kill()
        worker = start_worker()
    until_done(engine, 1, worker.log)
    assert rows(engine) == expected
