"""A clock, a store, and a broker that can be away or take its process down."""

from datetime import UTC, datetime

import pytest

from scheduling.cron import Cron
from scheduling.schedule import Schedule
from workers.declaration import actor
from workers.errors import PublishUnconfirmed
from workers.memory import MemoryBroker
from workers.store import keys
from workers.store.engine import create_store_engine
from workers.store.keys import Ending, Request
from workers.store.migrate import migrate

QUARTERLY = Cron("*/15 * * * *")
START = datetime(2026, 10, 25, 0, 0, 30, tzinfo=UTC)


class Clock:
    """A clock that the test sets, for the scheduler and the store alike."""

    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def advance(self, by):
        self.now += by


class Broker(MemoryBroker):
    """A broker that can be away, and that can take the publishing process down with it."""

    away = False
    dies_before = False
    dies_after = False

    def send_to_queue(self, message, delay):
        if self.away:
            raise PublishUnconfirmed("the broker did not confirm the message", received="nothing")
        if self.dies_before:
            raise SystemExit("killed before publishing")
        super().send_to_queue(message, delay)
        if self.dies_after:
            raise SystemExit("killed after publishing")

    @property
    def keys(self):
        return [message.options["key"] for message in self.published]

    @property
    def ids(self):
        return [message.message_id for message in self.published]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db", clock=clock)
    migrate(engine, package=None)
    yield engine
    engine.dispose()


@pytest.fixture
def broker():
    return Broker(middleware=[])


@pytest.fixture
def sweep(broker):
    @actor(actor_name="site.sweep", broker=broker, owner="content", expects="swept", rollback="none")
    def sweep(room: str = "hall") -> None: ...

    return sweep


@pytest.fixture
def schedule(sweep):
    def schedule(when=QUARTERLY, name="sweep", **policies):
        return Schedule(name, sweep, when, owner="content", **policies)

    return schedule


@pytest.fixture
def begin_job(store):
    """Let the job with a key begin, as a worker would."""

    def begin_job(key):
        with store.begin() as connection:
            keys.claim(connection, Request("site.sweep", key, "id", "hash", 1, 0), holder="a")

    return begin_job


@pytest.fixture
def end_job(store, begin_job):
    """Let it end."""

    def end_job(key, state="done"):
        begin_job(key)
        with store.begin() as connection:
            fence = keys.find(connection, "site.sweep", key).fence
            keys.end(connection, Ending("site.sweep", key, "a", fence, state))

    return end_job
