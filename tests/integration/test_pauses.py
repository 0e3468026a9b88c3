"""What is paused begins on no worker, and is neither lost nor charged, until it is resumed or its time is over."""

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import pika
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import ROOT, SHOP, envelope, until

from tests import commands
from tests.commands import unset
from workers.clock import utcnow
from workers.store import pauses
from workers.store.engine import begin, create_store_engine
from workers.store.migrate import migrate

OBEYED_SECONDS = 2
PROOF = bool(os.environ.get("PROOF"))
WAITING = 100_000 if PROOF else 500
STATISTICS_SECONDS = 5  # so old may RabbitMQ's figures be


@pytest.fixture
def start(start_worker):
    """Start two processes of two threads, and wait until they are ready."""
    started = []

    def begin():
        started.append(start_worker("-p", "2", "-t", "2"))
        started[-1].wait_until_ready(2 * len(started))  # one log for all of them
        return started[-1]

    return begin


@pytest.fixture
def store(environment):
    engine = create_store_engine(environment["DUTIFUL_STORE__URL"])
    migrate(engine, package=None)
    yield engine
    engine.dispose()


def lines(ledger):
    return sorted(ledger.read_text().splitlines())


def consumers(url):
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        return connection.channel().queue_declare("shop", passive=True).method.consumer_count


def dutiful(environment, *words):
    found = commands.dutiful(*words, environment=unset() | environment | {"PYTHONPATH": f"{SHOP}:{ROOT}"})
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_a_paused_queue_is_not_consumed_by_any_worker_also_not_by_a_new_one(
    start, shop, store, ledger, environment, *, rabbitmq
):
    first = start()
    until(lambda: consumers(rabbitmq) == 2)
    shop.publish(*[envelope("slow", n=n, seconds=1) for n in range(8)])
    until(lambda: lines(ledger))
    assert "paused, until: dutiful queues resume shop" in dutiful(
        environment, "queues", "pause", "shop", "shop", "--reason", "a move"
    )
    until(lambda: consumers(rabbitmq) == 0, OBEYED_SECONDS, what="workers still consume")
    begun = len([line for line in lines(ledger) if line.endswith("began")])
    until(lambda: len([line for line in lines(ledger) if line.endswith("ended")]) >= begun)
    first.stop()
    until(lambda: shop.count() == 8 - len([line for line in lines(ledger) if line.endswith("ended")]))
    before = lines(ledger)
    second = start()
    assert "a move" in dutiful(environment, "queues", "list", "shop")
    shop.publish(envelope("good", n=1))
    assert "paused" in second.text()
    assert consumers(rabbitmq) == 0
    assert lines(ledger) == before

    dutiful(environment, "queues", "resume", "shop")
    until(lambda: "good 1" in lines(ledger))
    until(lambda: len(lines(ledger)) == 17)
    assert len(set(lines(ledger))) == 17


def test_a_paused_actors_messages_wait_aside_and_come_back_uncharged_while_others_run(
    start, shop, store, ledger, environment, *, rabbitmq
):
    dutiful(environment, "actors", "pause", "gentle", "shop", "--reason", "its receiver is away")
    worker = start()
    shop.publish(*[envelope("gentle", n=n) for n in range(5)], envelope("good", n=1))
    until(lambda: lines(ledger) == ["good 1"])
    until(lambda: shop.count("dutiful.parked.gentle") == 5)
    assert shop.count() == 0

    worker.stop()
    start()
    shop.publish(envelope("gentle", n=5), envelope("good", n=2))
    until(lambda: lines(ledger) == ["good 1", "good 2"])
    until(lambda: shop.count("dutiful.parked.gentle") == 6)
    assert "its receiver is away" in dutiful(environment, "actors", "list", "shop", "--json")

    with begin(store) as connection:  # to end by itself
        pauses.pause(connection, "actor", "gentle", reason="soon back", until=utcnow() + timedelta(seconds=2))
    until(lambda: len(lines(ledger)) == 8)
    assert lines(ledger) == [*(f"gentle {n} 1" for n in range(6)), "good 1", "good 2"]
    assert shop.count("dutiful.parked.gentle") == 0


def test_a_job_of_an_actor_that_is_paused_while_it_waits_for_a_thread_does_not_begin(start, shop, store, ledger):
    start()
    shop.publish(*[envelope("slow", n=n, seconds=0.5) for n in range(40)])
    until(lambda: lines(ledger))
    with begin(store) as connection:
        pauses.pause(connection, "actor", "slow", reason="too much", until=None)
    asked = time.monotonic()
    until(lambda: time.monotonic() - asked > OBEYED_SECONDS)
    begun = [line for line in lines(ledger) if line.endswith("began")]
    until(lambda: shop.count("dutiful.parked.slow") == 40 - len(begun))
    assert [line for line in lines(ledger) if line.endswith("began")] == begun
    with begin(store) as connection:
        pauses.resume(connection, "actor", "slow")
    until(lambda: len([line for line in lines(ledger) if line.endswith("ended")]) == 40)
    assert len(set(lines(ledger))) == 80


@pytest.mark.timeout(600)
def test_however_many_messages_wait_in_a_paused_queue_they_cause_no_traffic(
    start, shop, store, environment, *, rabbitmq, management
):
    dutiful(environment, "queues", "pause", "shop", "shop", "--reason", "a move")
    start()
    shop.publish(*[envelope("good", n=n) for n in range(WAITING)])

    before = sent_to_workers(management, rabbitmq)
    time.sleep(2 * STATISTICS_SECONDS)
    after = sent_to_workers(management, rabbitmq)

    assert shop.count() == WAITING
    assert sum(after.values()) - sum(before.values()) < 10_000, "a heartbeat and a look at each queue, and no message"


def sent_to_workers(management, url):
    """Bytes that RabbitMQ has sent on each connection of a worker, up to five seconds ago."""
    until(lambda: len(_sent(management, url)) == 4, what="two processes have two connections each")
    return _sent(management, url)


def _sent(management, url):
    found = management.get(f"/api/vhosts/{url.rpartition('/')[2]}/connections").raise_for_status().json()
    return {
        each["name"]: each["send_oct"]
        for each in found
        if "send_oct" in each and each["client_properties"].get("connection_name", "").startswith("dutiful ")
    }
