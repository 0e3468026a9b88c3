"""A vhost remembers its store: a real RabbitMQ, two SQLite files."""

from pathlib import Path

import pika
import pytest
from processes import ROOT, Queue, Worker, envelope, until
from sqlalchemy import select

from tests.commands import dutiful
from workers.errors import AnotherStore
from workers.rabbitmq import DutifulBroker
from workers.store import tables
from workers.store.engine import create_store_engine
from workers.store.identity import identity_of
from workers.store.migrate import migrate

SITE = Path(__file__).parent / "worker_site"


@pytest.fixture
def stores(tmp_path):
    """Two stores: their addresses and identities."""
    found = []
    for name in ("first", "second"):
        address = f"sqlite:///{tmp_path}/{name}.db"
        engine = create_store_engine(address)
        migrate(engine, None)
        found.append((address, identity_of(engine)))
        engine.dispose()
    return found


@pytest.fixture
def start(rabbitmq, tmp_path):
    """Start a worker with a store; its ledger and its log have a folder of their own."""
    started = []

    def begin(address):
        folder = tmp_path / f"worker-{len(started)}"
        folder.mkdir()
        environment = {"DUTIFUL_RABBITMQ__URL": rabbitmq, "DUTIFUL_STORE__URL": address}
        worker = Worker(SITE, environment | {"SHOP_LEDGER": str(tmp_path / "ledger")}, folder, "-p", "1", "-t", "2")
        started.append(worker)
        return worker

    yield begin
    for worker in started:
        worker.kill()


@pytest.fixture
def adopt(rabbitmq, tmp_path):
    def run(address, *arguments):
        told = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{ROOT}:{SITE}",
            "DUTIFUL_RABBITMQ__URL": rabbitmq,
            "DUTIFUL_STORE__URL": address,
        }
        return dutiful("store", "adopt", "shop", *arguments, environment=told, folder=tmp_path)

    return run


def test_a_worker_with_another_store_ends_and_names_both(start, stores, rabbitmq, tmp_path):
    (first, ours), (second, theirs) = stores
    start(first).wait_until_ready()

    refused = start(second)

    assert refused.process.wait(timeout=30) == 67
    assert f"this vhost belongs to store {ours}; this process has store {theirs}" in refused.text()
    assert "DUTIFUL_STORE__URL" in refused.text()
    Queue(rabbitmq, "shop").publish(envelope("good", n=1))
    until(lambda: (tmp_path / "ledger").exists() and (tmp_path / "ledger").read_text() == "good 1\n")


def test_a_worker_with_the_same_store_is_welcome(start, stores):
    start(stores[0][0]).wait_until_ready()

    start(stores[0][0]).wait_until_ready()


def test_a_vhost_moves_to_another_store_on_purpose_once_its_workers_have_stopped(start, stores, adopt):
    (first, ours), (second, _) = stores
    worker = start(first)
    worker.wait_until_ready()

    early = adopt(second, "--reason", "moved")
    assert early.returncode == 1
    assert "consumers on shop" in early.stderr

    worker.stop()
    moved = adopt(second, "--reason", "moved")
    assert moved.returncode == 0, moved.stderr
    assert moved.stdout == f"the vhost belonged to store {ours}, and belongs to this one now\n"
    assert adopt(second, "--reason", "again").stdout == "the vhost belongs to this store\n"
    start(second).wait_until_ready()
    assert start(first).process.wait(timeout=30) == 67

    engine = create_store_engine(second)
    with engine.connect() as connection:
        (line,) = connection.execute(select(tables.audit)).mappings().all()
    engine.dispose()
    assert (line["action"], line["reason"], line["actor"]) == ("adopted", "moved", None)
    assert f"belonged to store {ours}" in line["detail"]


def test_rabbitmq_itself_keeps_the_memory_and_names_both_stores(rabbitmq):
    with pika.BlockingConnection(pika.URLParameters(rabbitmq)) as connection:
        arguments = {"alternate-exchange": "dutiful.store.one"}
        connection.channel().exchange_declare("dutiful.store", "direct", durable=True, arguments=arguments)

        other, channel = {"alternate-exchange": "dutiful.store.two"}, connection.channel()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            channel.exchange_declare("dutiful.store", "direct", durable=True, arguments=other)

    assert refused.value.reply_code == 406
    assert refused.value.reply_text.index("dutiful.store.two") < refused.value.reply_text.index("dutiful.store.one")


def test_a_worker_that_found_no_rabbitmq_when_it_booted_still_takes_no_message_of_another_store(rabbitmq):
    with pika.BlockingConnection(pika.URLParameters(rabbitmq)) as connection:
        arguments = {"alternate-exchange": "dutiful.store.one"}
        connection.channel().exchange_declare("dutiful.store", "direct", durable=True, arguments=arguments)
    broker = DutifulBroker(url=rabbitmq, middleware=[])
    broker.store_id = "two"
    broker.declare_queue("shop")

    with pytest.raises(AnotherStore) as refused:
        broker.consume("shop")

    assert refused.value.owner == "one"
    broker.close()
