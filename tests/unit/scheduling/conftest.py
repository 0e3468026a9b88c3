"""A clock, a store, and a broker that can be away or take its process down."""

from datetime import UTC, datetime

import pytest

from workers.declaration import actor
from workers.errors import PublishUnconfirmed
from workers.memory import MemoryBroker
from workers.store.engine import create_store_engine
from workers.store.migrate import migrate

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
