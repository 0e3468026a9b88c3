"""Starts what most of these tests begin with: the shop's queue, its processes' environment, and its workers."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import SHOP, Queue, Worker

from workers.rabbitmq import DutifulBroker
from workers.store.engine import create_store_engine
from workers.store.migrate import migrate


@pytest.fixture
def shop(rabbitmq):
    return Queue(rabbitmq, "shop")


@pytest.fixture
def ledger(tmp_path):
    """Where the shop's jobs leave their lines."""
    path = tmp_path / "ledger"
    path.touch()
    return path


@pytest.fixture
def environment(rabbitmq, tmp_path, ledger):
    """What the shop's processes are told: a vhost, a store and a ledger of this test's own."""
    return {
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
        "SHOP_LEDGER": str(ledger),
    }


@pytest.fixture
def start_worker(environment, tmp_path):
    """Start `dramatiq` for the shop: start_worker("-p", "2", "-t", "2", DUTIFUL_X="..."); it is not ready yet."""
    started = []

    def start(*arguments, **more):
        worker = Worker(SHOP, environment | more, tmp_path, *(arguments or ("-p", "1", "-t", "4")))
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def queues(environment):
    """The shop's queues and its store are there, and no worker is."""
    engine = create_store_engine(environment["DUTIFUL_STORE__URL"])
    migrate(engine, package=None)
    engine.dispose()
    broker = DutifulBroker(url=environment["DUTIFUL_RABBITMQ__URL"], middleware=[])
    broker.declare_queue("shop", ensure=True)
    broker.close()
