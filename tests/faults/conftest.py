"""Brokers, workers and ways to break what is between them. `PROOF=1` makes every test here as large as its promise."""

import itertools
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import dramatiq
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
sys.path.insert(0, str(Path(__file__).parent))
from node import running
from processes import ONLOOKER, Queue, Worker, until
from proxy import Proxy

from workers import actor
from workers.broker import DutifulBroker, build_middleware
from workers.settings import Settings
from workers.store.engine import create_store_engine

HERE = Path(__file__).parent
CARD = {"queue_name": "shop", "owner": "tests", "expects": "a line in a list", "rollback": "none"}


@pytest.fixture
def make_broker(rabbitmq, tmp_path):
    """A broker in this process: make_broker(url, publish_timeout_seconds=...)."""
    made = []

    def make(url=rabbitmq, **options):
        engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")
        options = {"connect_timeout_seconds": 2, "publish_timeout_seconds": 2} | options
        broker = DutifulBroker(url=url, middleware=build_middleware(Settings.load(), engine), **options)
        broker.store = engine
        made.append(broker)
        return broker

    yield make
    for broker in made:
        broker.close()
        broker.store.dispose()


@pytest.fixture
def broker(make_broker):
    broker = make_broker()
    broker.declare_queue("shop", ensure=True)  # thirty queues take longer than a publish may
    return broker


@pytest.fixture
def work():
    """Start a worker for a broker: work(broker, threads=2, queues={"shop"})."""
    started = []

    def start(broker, threads=2, queues=None):
        worker = dramatiq.Worker(broker, queues=queues, worker_timeout=50, worker_threads=threads)
        worker.start()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        if any(thread.is_alive() for thread in worker.workers):
            worker.stop(timeout=20_000)


@pytest.fixture
def proxy(rabbitmq, broker):
    address = urlsplit(rabbitmq)
    with Proxy(address.hostname, address.port) as between:
        between.url = rabbitmq.replace(f":{address.port}/", f":{between.port}/")
        yield between


@pytest.fixture
def shop(rabbitmq):
    return Queue(rabbitmq, "shop")


@pytest.fixture
def start(rabbitmq, tmp_path):
    """Start `dramatiq`: start("-p", "2", site="shop", DUTIFUL_X="..."). Its `lines()` are what its jobs wrote."""
    started = []
    ledger = tmp_path / "ledger"
    ledger.touch()

    def begin(*arguments, site="shop", ready=True, **environment):
        environment = {
            "DUTIFUL_RABBITMQ__URL": rabbitmq,
            "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
            "SHOP_LEDGER": str(ledger),
            "PYTHONPATH": str(HERE / "sites"),
        } | environment
        worker = Worker(HERE.parent / "integration" / "worker_site", environment, tmp_path, *arguments, module=site)
        worker.lines = lambda: ledger.read_text().splitlines()
        started.append(worker)
        if ready:
            before = worker.text().count("Worker process is ready")
            deadline = time.monotonic() + 30
            wanted = before + int(arguments[arguments.index("-p") + 1])
            while worker.text().count("Worker process is ready") < wanted:
                assert worker.process.poll() is None, worker.text()
                assert time.monotonic() < deadline, worker.text()
                time.sleep(0.05)
        return worker

    yield begin
    for worker in started:
        worker.kill()


class Vhost:
    """The test's vhost, through RabbitMQ's management API."""

    def __init__(self, client, url):
        self.client, self.name = client, url.rpartition("/")[2]
        self.shop = Queue(url, "shop")

    def connections(self):
        """All but those of onlookers. RabbitMQ lists a connection a few seconds after it was made."""
        found = self.client.get(f"/api/vhosts/{self.name}/connections").raise_for_status().json()
        return [each for each in found if each.get("client_properties", {}).get("connection_name") != ONLOOKER]

    def cut(self, least=1):
        """Close every connection, as an operator can; at least so many must be there."""
        found = until(lambda: enough(self.connections(), least), what=f"there were not {least} connections")
        for each in found:
            self.client.delete(f"/api/connections/{each['name']}")
        return found

    def delete(self, kind, name):
        self.client.delete(f"/api/{kind}/{self.name}/{name}").raise_for_status()

    def limit(self, queue, length):
        """Let a queue take no more than so many."""
        policy = {"pattern": f"^{queue}$", "definition": {"max-length": length}, "apply-to": "queues"}
        self.client.put(f"/api/policies/{self.name}/{queue}", json=policy).raise_for_status()


def enough(found, least):
    return found if len(found) >= least else None


@pytest.fixture
def vhost(management, rabbitmq):
    return Vhost(management, rabbitmq)


@pytest.fixture
def job():
    """Make an actor of a function: job(broker, function, max_retries=3)."""
    return lambda broker, function, **options: actor(broker=broker, **CARD | options)(function)


@pytest.fixture
def noted():
    """A job's function, and what it notes: which number, and when."""
    notes = []

    def note(n: int = 0) -> None:
        notes.append((n, time.monotonic()))

    return note, notes


@pytest.fixture(scope="session")
def nodes_of_our_own(installed_servers, run_folder):
    """nodes_of_our_own(["a", "b", "c"]): a context with nodes that may be killed; several are one cluster."""
    if os.environ.get("RABBITMQ_URL"):
        pytest.skip("the RabbitMQ that was named is not ours to kill")
    numbers = itertools.count(1)
    return lambda names: running(run_folder / f"nodes-{next(numbers)}", names)


@pytest.fixture(scope="session")
def own_node(nodes_of_our_own):
    """A RabbitMQ that tests may kill and starve; it runs again when they end."""
    with nodes_of_our_own(["rabbit"]) as (node,):
        yield node
