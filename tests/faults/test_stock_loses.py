"""The same faults on stock Dramatiq, in a vhost of its own: they show that our tests look for what really happens.

Each test names its twin. Should one of these fail after an upgrade of Dramatiq, stock has become better there.
"""

import json
import os
import threading
import time

import dramatiq
import pika
import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import ConnectionClosed
from node import memory_alarm, rabbitmqctl
from processes import envelope, until

HOUR_MS = 3_600_000
# Stock prefetches a thousand delayed messages a thread.
DELAYED = 1_500
PATIENCE_SECONDS = 5
JOBS = 60
PROOF = bool(os.environ.get("PROOF"))
RESTARTS = 30 if PROOF else 4


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
    return lambda broker, function, **options: dramatiq.actor(broker=broker, **{"queue_name": "shop"} | options)(
        function
    )


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


def hangs(publish):
    """A thread that publishes, for which nobody has answered in more than twice the time that ours takes at most."""
    sender = threading.Thread(target=publish)
    sender.start()
    sender.join(2 * PATIENCE_SECONDS)
    return sender if sender.is_alive() else None


@pytest.mark.timeout(600)
def test_publishing_during_a_memory_alarm_hangs_until_it_is_over(own_node, make_broker, job, noted):
    """test_publishing_faults.py: test_a_memory_alarm_is_named; there, it ends within 4.5 s and says why."""
    send = job(make_broker(own_node.url), noted[0], queue_name="stock")
    send.send()

    with memory_alarm(own_node):
        sender = hangs(send.send)
    assert sender
    sender.join(60)
    assert not sender.is_alive()


@pytest.mark.timeout(600)
@pytest.mark.skipif(not PROOF, reason="needs three nodes: PROOF=1 runs it")
def test_publishing_to_a_minority_hangs(nodes_of_our_own, make_broker, job, noted):
    """test_cluster.py: test_publishing_to_a_minority_ends_in_time_and_goes_on_with_a_majority.

    On the queues that survive the loss of a node, as everywhere in a vhost where they are the default.
    """
    with nodes_of_our_own(["one", "two", "three"]) as nodes:
        rabbitmqctl(nodes[0], "add_vhost", "stock", "--default-queue-type", "quorum")
        rabbitmqctl(nodes[0], "set_permissions", "-p", "stock", "guest", ".*", ".*", ".*")
        send = job(make_broker(nodes[0].url.replace("%2F", "stock")), noted[0])
        send.send()

        for node in nodes[1:]:
            node.kill()
        sender = hangs(send.send)
        for node in nodes[1:]:
            node.boot()
        for node in nodes[1:]:
            node.wait()

        assert sender
        sender.join(60)
        assert not sender.is_alive()


@pytest.mark.timeout(600)
def test_publishing_to_a_link_that_froze_hangs(make_broker, job, noted, proxy):
    """test_publishing_faults.py: test_a_link_that_froze_leaves_the_message_unconfirmed; there, it ends within 4.5 s."""
    send = job(make_broker(proxy.url), noted[0])

    sender = hangs(lambda: (send.send(), proxy.freeze(), send.send()))
    proxy.thaw()

    assert sender
    sender.join(60)
    assert not sender.is_alive()


def numbers_left(shop):
    """The arguments `n` of all that is in the queue; it is empty then."""
    found = []
    with pika.BlockingConnection(pika.URLParameters(shop.url)) as connection:
        channel = connection.channel()
        while (message := channel.basic_get("shop", auto_ack=True))[0] is not None:
            found.append(json.loads(message[2])["kwargs"]["n"])
    return sorted(found)


def count_unsettled(vhost):
    """RabbitMQ's figures are up to five seconds old."""
    return vhost.client.get(f"/api/queues/{vhost.name}/shop").raise_for_status().json().get("messages")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_job_that_outlives_a_reconnect_acknowledges_another_message(start, shop, vhost):
    """test_worker_faults.py: test_a_job_that_outlives_a_reconnect_acknowledges_no_other_message."""
    worker = start("-p", "1", "-t", "2", site="stock", dramatiq_queue_prefetch="10")
    until(lambda: len(vhost.connections()) >= 2, what="it does not consume")
    until(shop.exists, what="it has declared nothing")
    shop.publish(*(envelope("good", n=number) for number in range(3)), exchange="")
    until(lambda: len(worker.lines()) == 3)
    shop.publish(envelope("slow", n=10, seconds=12), exchange="")  # tag 4
    until(lambda: worker.lines()[3:] == ["slow 10 began"])

    vhost.cut(least=2)
    until(lambda: worker.lines()[3:] == ["slow 10 began"] * 2, what="it was not handed out again")
    # On the new channel, number 10 is tag 1, and these are 2 to 6. Both threads are busy with number 10.
    shop.publish(*(envelope("slow", n=number, seconds=60) for number in range(11, 16)), exchange="")
    until(lambda: worker.lines().count("slow 10 ended") == 2)
    # The first end acknowledged tag 4, which is number 13 here; the second its own.
    until(lambda: count_unsettled(vhost) == 4, what="nothing was acknowledged")
    worker.kill()

    until(lambda: shop.count() == 4, what="they did not come back")
    assert numbers_left(shop) == [11, 12, 14, 15]
    assert "slow 13 began" not in worker.lines()
    assert shop.dead() == []


@pytest.mark.timeout(400 + 10 * RESTARTS)
def test_restarts_before_anything_is_done_cost_nothing_on_its_classic_queues(start, shop):
    """test_worker_faults.py: test_restarts_before_anything_is_done_make_no_dead_letters. Nothing is lost here either:

    classic queues don't count deliveries. So a message that kills its worker comes back for ever.
    """
    worker = restart_before_anything_is_done(start, shop)

    (worker.log.parent / "gate").touch()
    until(lambda: len(worker.lines()) == JOBS, what=worker.text()[-2000:])
    assert sorted(worker.lines()) == sorted(f"gated {number}" for number in range(JOBS))
    assert (shop.count(), shop.dead()) == (0, [])


@pytest.mark.timeout(400 + 10 * RESTARTS)
def test_restarts_before_anything_is_done_make_dead_letters_on_quorum_queues(start, shop, vhost):
    """The same with the queues that survive the loss of a node: each restart counts, and nobody renews a message.

    RabbitMQ 4 has the limit of 20 by itself, older ones have none; here both have one that the restarts reach.
    """
    # A vhost has its default from when it is made.
    vhost.client.delete(f"/api/vhosts/{vhost.name}").raise_for_status()
    made = {"name": vhost.name, "default_queue_type": "quorum", "metadata": {"default_queue_type": "quorum"}}
    vhost.client.post("/api/definitions", json={"vhosts": [made]}).raise_for_status()
    user, rights = vhost.client.get("/api/whoami").json()["name"], dict.fromkeys(["configure", "write", "read"], ".*")
    vhost.client.put(f"/api/permissions/{vhost.name}/{user}", json=rights).raise_for_status()
    policy = {"pattern": "^shop$", "definition": {"delivery-limit": min(20, RESTARTS - 2)}, "apply-to": "queues"}
    vhost.client.put(f"/api/policies/{vhost.name}/limit", json=policy).raise_for_status()

    worker = restart_before_anything_is_done(start, shop)

    assert shop.count("shop.XQ") == JOBS
    assert worker.lines() == []


def restart_before_anything_is_done(start, shop):
    """The last of many workers; each of those before it was killed when it had fetched everything that was there."""
    worker = start("-p", "1", "-t", "1", site="stock", dramatiq_queue_prefetch="100")
    until(shop.exists, what="it has declared nothing")
    shop.publish(*(envelope("gated", n=number) for number in range(JOBS)), exchange="")
    for _ in range(RESTARTS):
        until(lambda: shop.count() == 0, what="not everything was prefetched")
        worker.kill()
        worker = start("-p", "1", "-t", "1", site="stock", dramatiq_queue_prefetch="100")
    assert worker.lines() == [], "nothing was to be done yet"
    return worker
