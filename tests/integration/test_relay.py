"""The relay on a real RabbitMQ: bad rows, missing queues, delays, outages, and what jobs left behind."""

import json
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import insert, select, text, update

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from processes import Queue, envelope, until
from proxy import Proxy

from workers import actor, outbox
from workers.errors import BrokerUnreachable
from workers.rabbitmq import DutifulBroker
from workers.relay import Counts, Relay
from workers.store import keys, tables
from workers.store import outbox as job_outbox
from workers.store.engine import begin, create_store_engine
from workers.store.migrate import migrate

CARD = {"owner": "tests", "expects": "nothing", "rollback": "none"}
ROWS = tables.publisher_outbox.c


@pytest.fixture
def engine(tmp_path):
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")
    migrate(engine, package=None)
    yield engine
    engine.dispose()


@pytest.fixture
def make_relay(engine):
    made = []

    def make(url, publish_seconds=10, **options):
        broker = DutifulBroker(url=url, middleware=[], publish_timeout_seconds=publish_seconds)
        relay = Relay(engine, broker, **options)

        @actor(queue_name="shop", key="{n}", broker=broker, actor_name="sell", **CARD)
        def sell(n: int) -> None:
            """Never run here."""

        relay.sell = sell
        made.append(relay)
        return relay

    yield make
    for relay in made:
        relay.broker.close()


@pytest.fixture
def relay(make_relay, rabbitmq):
    return make_relay(rabbitmq)


def put(engine, *messages, **options):
    with begin(engine) as connection:
        for message in messages:
            outbox.add(connection, message, **options)


def insert_row(engine, body, **values):
    """A row as another language writes it."""
    fields = json.loads(body) if body.startswith(b"{") else {"message_id": body[:8].decode(), "queue_name": "shop"}
    row = {"message_id": fields["message_id"], "queue": fields["queue_name"], "body": body.decode()} | values
    with begin(engine) as connection:
        connection.execute(insert(tables.publisher_outbox).values(row))
    return row["message_id"]


def left(engine):
    """What is still in the table: the error of each row."""
    with begin(engine) as connection:
        return {row.message_id: row.error for row in connection.execute(select(ROWS.message_id, ROWS.error))}


def test_rows_are_published_with_key_and_headers_and_then_removed(relay, engine, shop):
    put(engine, relay.sell.message(n=1), relay.sell.message_with_options(kwargs={"n": 2}, key="mine"))

    assert relay.drain() == Counts(relayed=2)
    assert left(engine) == {}
    found = taken(shop)
    keys_sent = {json.loads(body)["kwargs"]["n"]: properties.headers.get("dutiful-key") for properties, body in found}
    assert keys_sent == {1: None, 2: "mine"}
    assert {properties.delivery_mode for properties, _ in found} == {2}


def taken(queue):
    import pika  # noqa: PLC0415

    messages = []
    with pika.BlockingConnection(pika.URLParameters(queue.url)) as connection:
        channel = connection.channel()
        while (found := channel.basic_get(queue.name, auto_ack=True))[0] is not None:
            messages.append((found[1], found[2]))
    return messages


def test_bad_rows_are_set_aside_with_their_error_and_stop_no_other(relay, engine, shop):
    other = envelope("sell", n=9)
    bad = {
        insert_row(engine, b"no json at all"): "no JSON",
        insert_row(engine, envelope("sell", n="many")): "n:",
        insert_row(engine, envelope("sell", queue="nowhere", n=1)): "no such queue|returned",
        insert_row(engine, envelope("sell", queue="nowhere", n=1), delay_ms=60_000): "no such queue",
        insert_row(engine, other, message_id="another"): "contradicts",
        insert_row(engine, envelope("sell", n=1), queue="content"): "contradicts",
        insert_row(engine, envelope("sell", n=1), headers="[]"): "headers",
        insert_row(engine, envelope("sell", n=1), headers='{"dutiful-attempt": "1"}'): "dutiful-attempt",
        insert_row(engine, envelope("sell", n=1), delay_ms=10**12): "621 days",
        insert_row(
            engine, envelope("sell", n=1).replace(b'"message_timestamp": 1', b'"message_timestamp": -1')
        ): "no moment",
        insert_row(engine, envelope("é" * 200, n=1)): "255 bytes",
    }
    put(engine, relay.sell.message(n=1))

    assert relay.drain() == Counts(relayed=1, set_aside=len(bad))
    assert [json.loads(body)["kwargs"] for _, body in taken(shop)] == [{"n": 1}]
    errors = left(engine)
    assert errors.keys() == bad.keys()
    for message_id, word in bad.items():
        assert any(each in errors[message_id] for each in word.split("|")), errors[message_id]
    assert relay.depth().set_aside == len(bad)


def test_a_row_whose_error_is_cleared_is_published(relay, engine, shop):
    insert_row(engine, envelope("sell", queue="late", n=1))
    assert relay.drain() == Counts(set_aside=1)

    relay.broker.declare_queue("late", ensure=True)
    with begin(engine) as connection:
        connection.execute(update(tables.publisher_outbox).values(error=None))

    assert relay.drain() == Counts(relayed=1)
    assert shop.count("late") == 1


def test_an_actor_of_another_package_is_left_to_its_worker(relay, engine, shop):
    insert_row(engine, envelope("unknown", n=1))

    assert relay.drain() == Counts(relayed=1)


def test_a_delay_counts_from_the_insert(relay, engine, shop):
    put(engine, relay.sell.message(n=1), delay=timedelta(hours=1))
    put(engine, relay.sell.message(n=2), delay=timedelta(hours=1))
    with begin(engine) as connection:
        second = select(ROWS.message_id).limit(1).scalar_subquery()
        long_ago = datetime.now(UTC) - timedelta(hours=2)
        connection.execute(update(tables.publisher_outbox).where(ROWS.message_id == second).values(created_at=long_ago))

    assert relay.drain() == Counts(relayed=2)
    assert shop.count() == 1


def test_a_queue_that_takes_nothing_holds_up_no_other(relay, engine, shop, management, rabbitmq):
    relay.broker.declare_queue("shop", ensure=True)
    relay.broker.declare_queue("full", ensure=True)
    policy = {"pattern": "^full$", "definition": {"max-length": 1}, "apply-to": "queues"}
    management.put(f"/api/policies/{rabbitmq.rpartition('/')[2]}/full", json=policy).raise_for_status()
    full = Queue(rabbitmq, "full")
    until(lambda: refuses(full), what="the policy was not there")
    stuck = [insert_row(engine, envelope("sell", queue="full", n=number)) for number in range(5)]
    put(engine, relay.sell.message(n=1))
    relay.batch = 2

    done = relay.drain()

    assert (done.relayed, done.not_taken) == (1, 5)
    assert left(engine) == dict.fromkeys(stuck)


def refuses(queue):
    import pika  # noqa: PLC0415

    try:
        queue.publish(b"{}")
    except pika.exceptions.NackError:
        return True
    return False


def test_while_the_broker_is_away_rows_wait_and_go_out_when_it_is_back(make_relay, engine, rabbitmq, shop):
    address = urlsplit(rabbitmq)
    with Proxy(address.hostname, address.port) as proxy:
        steps = []
        url = rabbitmq.replace(f":{address.port}/", f":{proxy.port}/")
        relay = make_relay(url, publish_seconds=1, told=steps.append)
        proxy.refuse()
        put(engine, *(relay.sell.message(n=number) for number in range(50)))
        with pytest.raises(BrokerUnreachable):
            relay.drain()
        stopping = threading.Event()
        running = threading.Thread(target=relay.run, args=(stopping,))
        running.start()
        try:
            began = time.monotonic()
            until(lambda: len(steps) >= 4)
            assert time.monotonic() - began > 3, "it does not spin"
            assert [step.not_taken for step in steps[:4]] == [50, 50, 1, 1], "one message tries whether it is over"
            assert relay.trouble
            assert len(left(engine)) == 50
            proxy.admit()
            until(lambda: not left(engine))
            until(lambda: not relay.trouble)
        finally:
            stopping.set()
            running.join(20)
    assert not running.is_alive()
    until(lambda: shop.count() == 50)


def test_while_the_database_is_away_the_relay_waits_for_it(relay, engine):
    put(engine, relay.sell.message(n=1))
    with begin(engine) as connection:
        connection.execute(text("ALTER TABLE dutiful_publisher_outbox RENAME TO away"))
    stopping = threading.Event()
    running = threading.Thread(target=relay.run, args=(stopping,))
    running.start()
    try:
        until(lambda: relay.trouble)
        with begin(engine) as connection:
            connection.execute(text("ALTER TABLE away RENAME TO dutiful_publisher_outbox"))
        until(lambda: not left(engine))
    finally:
        stopping.set()
        running.join(20)


def test_what_a_killed_worker_left_of_a_job_s_messages_is_published(make_relay, engine, rabbitmq, shop):
    relay = make_relay(rabbitmq, is_store=True)
    message = relay.sell.message(n=1)
    parent = {"actor": "parent", "key": "k"}
    with begin(engine) as connection:
        job_outbox.add(connection, **parent, messages=[job_outbox.Outgoing(message.message_id, message.encode(), None)])
        keys.end(connection, keys.Ending(**parent, holder="h", fence=1, state="done"))
    assert relay.once() is None
    assert len(waiting_children(engine)) == 1, "its own worker may be about to publish it"

    with begin(engine) as connection:
        long_ago = datetime.now(UTC) - timedelta(minutes=1)
        connection.execute(update(tables.outbox).values(created_at=long_ago))
    relay._look_behind_at = 0
    relay.once()

    assert waiting_children(engine) == []
    assert [json.loads(body)["message_id"] for _, body in taken(shop)] == [message.message_id]


def waiting_children(engine):
    with begin(engine) as connection:
        return connection.scalars(select(tables.outbox.c.message_id)).all()


def test_of_several_workers_one_relays_the_store(make_relay, engine, rabbitmq):
    first, second = make_relay(rabbitmq, is_store=True, batch=1), make_relay(rabbitmq, is_store=True)
    put(engine, first.sell.message(n=1), first.sell.message(n=2))

    assert first.once() == Counts(relayed=1)
    assert second.once() is None
    assert first.once() == Counts(relayed=1)
