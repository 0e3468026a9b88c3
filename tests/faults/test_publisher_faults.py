"""The publisher of other services where links and brokers fail: it ends in time, and says what is known."""

import asyncio
import threading
import time
from contextlib import contextmanager

import pika
import pytest
from node import memory_alarm
from processes import Queue, until

from workers.errors import BrokerBlocked, BrokerUnreachable, PublishError, PublishUnconfirmed
from workers.publisher import AsyncPublisher, Publisher
from workers.transport import topology

SHORT = {"app": "tests", "publish_timeout_seconds": 1.5, "connect_timeout_seconds": 2}


@contextmanager
def in_time(seconds=3.5):
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"it took {took:.1f} s"


@pytest.fixture
def publisher(proxy):
    with Publisher(proxy.url, **SHORT) as made:
        yield made


def ids(queue):
    """The ids of all messages that wait, which are taken."""
    found = []
    with pika.BlockingConnection(pika.URLParameters(queue.url)) as connection:
        channel = connection.channel()
        while (message := channel.basic_get(queue.name, auto_ack=True))[0] is not None:
            found.append(message[1].message_id)
    return found


def test_a_link_that_froze_leaves_the_outcome_unknown_and_the_error_has_the_job(publisher, proxy, shop):
    publisher.publish("good", {"n": 1}, queue="shop")

    proxy.freeze()
    with pytest.raises(PublishUnconfirmed) as keyed, in_time():
        publisher.publish("good", {"n": 2}, queue="shop", key="two")
    with pytest.raises(PublishUnconfirmed) as plain, in_time():
        publisher.publish("good", {"n": 3}, queue="shop")

    assert (keyed.value.safe_to_retry, plain.value.safe_to_retry) == (True, False)
    assert keyed.value.message.kwargs == {"n": 2}
    for word in ("expected", "received", "safe to try again: no"):
        assert word in str(plain.value)
    proxy.thaw()
    publisher.send(keyed.value.message)
    until(lambda: shop.count() >= 3)
    assert keyed.value.message.message_id in ids(shop)


def test_a_link_that_froze_holds_up_no_other_task(proxy):
    async def publish_and_count():
        turns = 0
        async with AsyncPublisher(proxy.url, **SHORT) as publisher:
            await publisher.publish("good", {"n": 1}, queue="shop")
            proxy.freeze()
            sending = asyncio.gather(
                *(publisher.publish("good", {"n": n}, queue="shop", key=str(n)) for n in range(50)),
                return_exceptions=True,
            )
            while not sending.done():
                turns += 1
                await asyncio.sleep(0.01)
            proxy.thaw()
            return turns, await sending

    with in_time(6):
        turns, answers = asyncio.run(publish_and_count())

    assert turns > 20
    assert {type(each) for each in answers} == {PublishUnconfirmed}


def test_a_broker_that_refuses_is_named_with_its_address(publisher, proxy):
    proxy.refuse()

    with pytest.raises(BrokerUnreachable) as caught, in_time():
        publisher.publish("good", {"n": 1}, queue="shop")

    assert f"a broker at 127.0.0.1:{proxy.port}" in str(caught.value)
    assert caught.value.safe_to_retry


@pytest.mark.long
def test_nothing_confirmed_is_lost_when_the_broker_is_killed_under_it(own_node):
    with pika.BlockingConnection(pika.URLParameters(own_node.url)) as connection:
        topology.declare_vhost(connection.channel())
        topology.declare_queue(connection.channel(), "killed")
    confirmed, unknown, over = [], [], threading.Event()

    def publish_until_over(publisher, name):
        number = 0
        while not over.is_set():
            number += 1
            try:
                confirmed.append(publisher.publish("good", {}, queue="killed", key=f"{name}:{number}").message_id)
            except PublishError as error:
                unknown.append(error.message)

    with Publisher(own_node.url, **SHORT) as publisher:
        threads = [threading.Thread(target=publish_until_over, args=(publisher, name)) for name in range(8)]
        for each in threads:
            each.start()
        until(lambda: len(confirmed) > 100, seconds=60)
        own_node.kill()
        until(lambda: len(unknown) >= 8)
        own_node.start()
        before = len(confirmed)
        until(lambda: len(confirmed) > before + 50, seconds=60, what="it did not connect anew")
        over.set()
        for each in threads:
            each.join()
        for job in unknown:
            publisher.send(job)

    found = ids(Queue(own_node.url, "killed"))
    assert set(found) == {*confirmed, *(job.message_id for job in unknown)}


def test_an_alarm_is_named(own_node):
    with pika.BlockingConnection(pika.URLParameters(own_node.url)) as connection:
        topology.declare_vhost(connection.channel())
        topology.declare_queue(connection.channel(), "blocked")
    with Publisher(own_node.url, **SHORT) as publisher:
        publisher.publish("good", {}, queue="blocked")
        with memory_alarm(own_node):
            with pytest.raises(PublishUnconfirmed), in_time():
                publisher.publish("good", {}, queue="blocked")
            with pytest.raises(BrokerBlocked, match="nothing was sent"), in_time():
                publisher.publish("good", {}, queue="blocked")
