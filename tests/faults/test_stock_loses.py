"""The same faults on stock Dramatiq, in a vhost of its own: they show that our tests look for what really happens.

Each test names its twin. Should one of these fail after an upgrade of Dramatiq, stock has become better there.
"""

import threading
import time

import dramatiq
import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import ConnectionClosed
from processes import envelope, until

HOUR_MS = 3_600_000
# Stock prefetches a thousand delayed messages a thread.
DELAYED = 1_500
PATIENCE_SECONDS = 5


@pytest.fixture
def make_broker(rabbitmq):
    """Stock's broker with confirms, and the middleware it comes with."""
    made = []

    def make(url=rabbitmq):
        broker = RabbitmqBroker(url=url, confirm_delivery=True)
        # Its metrics need a port of their own.
        broker.middleware[:] = [each for each in broker.middleware if type(each).__name__ != "Prometheus"]
        made.append(broker)
        return broker

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def job():
    """Make an actor of a function: job(broker, function, max_retries=3)."""
    return lambda broker, function, **options: dramatiq.actor(broker=broker, queue_name="shop", **options)(function)


def test_a_retry_that_the_delay_queue_refuses_is_lost(broker, work, job, noted, vhost):
    """test_retries.py: test_one_that_the_delay_queue_refuses_is_not_lost."""
    ran = []

    def failing() -> None:
        ran.append(1)
        raise RuntimeError("not yet")

    send = job(broker, failing, min_backoff=500, max_backoff=500)
    delayed = job(broker, noted[0])
    for _ in range(DELAYED):
        delayed.send_with_options(delay=HOUR_MS)
    worker = work(broker, threads=1)
    until(lambda: vhost.shop.count("shop.DQ") == DELAYED - 1_000, what="the worker did not fetch what it can hold")
    limit = {
        "pattern": "^shop.DQ$",
        "definition": {"max-length": DELAYED - 1_000, "overflow": "reject-publish"},
        "apply-to": "queues",
    }
    vhost.client.put(f"/api/policies/{vhost.name}/full", json=limit).raise_for_status()
    until(lambda: refused(delayed), what="the delay queue took everything")
    there = vhost.shop.count("shop.DQ") + 1_000

    send.send()
    until(lambda: ran)
    time.sleep(PATIENCE_SECONDS)
    worker.stop()
    broker.close()

    assert ran == [1]
    assert (vhost.shop.count(), vhost.shop.count("shop.DQ"), vhost.shop.count("shop.XQ")) == (0, there, 0)


def refused(send):
    try:
        send.send_with_options(delay=HOUR_MS)
    except ConnectionClosed:  # which is how it names a nack
        return True
    return False


def test_a_second_is_an_hour_behind_jobs_delayed_by_an_hour(broker, work, job, noted):
    """test_fairness_and_delays.py: test_a_second_is_a_second_beside_many_jobs_delayed_by_an_hour."""
    note, notes = noted
    send = job(broker, note)
    for n in range(1, DELAYED + 1):
        send.send_with_options(kwargs={"n": n}, delay=HOUR_MS)
    work(broker, threads=1)

    send.send_with_options(kwargs={"n": 0}, delay=1000)
    time.sleep(PATIENCE_SECONDS)

    assert notes == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_wrong_queue_name_ends_a_worker_thread(broker, work, job, noted, shop):
    """test_hooks.py, of the unit tests: test_a_message_that_names_another_queue_is_a_dead_letter_and_hurts_nobody."""
    note, notes = noted
    job(broker, note)
    worker = work(broker, threads=2)

    broker.declare_queue("shop", ensure=True)
    shop.publish(envelope("note", queue="elsewhere", n=1), exchange="")

    until(lambda: notes)
    until(lambda: sum(thread.is_alive() for thread in worker.workers) == 1, what="both threads live")
    for consumer in worker.consumers.values():
        consumer.stop()


@pytest.mark.timeout(120)
def test_publishing_to_a_link_that_froze_hangs(make_broker, job, noted, proxy):
    """test_publishing_faults.py: test_a_link_that_froze_leaves_the_message_unconfirmed; there, it ends within 4.5 s."""
    send = job(make_broker(proxy.url), noted[0])
    sender = threading.Thread(target=lambda: (send.send(), proxy.freeze(), send.send()))
    sender.start()

    sender.join(2 * PATIENCE_SECONDS)
    hung = sender.is_alive()
    proxy.thaw()
    sender.join(60)

    assert hung
