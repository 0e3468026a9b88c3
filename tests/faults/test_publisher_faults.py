"""The publisher of other services where links and brokers fail: it ends in time, and says what is known."""

import asyncio
import contextlib
import time

import pika
import pytest
from node import memory_alarm
from processes import until

from workers.errors import BrokerBlocked, BrokerUnreachable, PublishError, PublishUnconfirmed
from workers.publisher import AsyncPublisher, Publisher
from workers.transport import topology

SHORT = {"app": "tests", "publish_timeout_seconds": 1.5, "connect_timeout_seconds": 2}


@contextlib.contextmanager
def in_time(seconds=6):
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

    with in_time(9):
        turns, answers = asyncio.run(publish_and_count())

    assert turns > 20
    assert {type(each) for each in answers} == {PublishUnconfirmed}


def test_a_broker_that_refuses_is_named_with_its_address(publisher, proxy):
    proxy.refuse()

    with pytest.raises(BrokerUnreachable) as caught, in_time():
        publisher.publish("good", {"n": 1}, queue="shop")

    assert f"a broker at 127.0.0.1:{proxy.port}" in str(caught.value)
    assert caught.value.safe_to_retry


def test_a_queue_that_answers_nothing_holds_up_no_other(own_node):
    """RabbitMQ 3.10 forgets the leader of a queue that was declared just before the node is killed."""
    with pika.BlockingConnection(pika.URLParameters(own_node.url)) as connection:
        topology.declare_vhost(connection.channel())
        topology.declare_queue(connection.channel(), "silent")
    with Publisher(own_node.url, **SHORT) as publisher:
        for n in range(100):
            publisher.publish("good", {"n": n}, queue="silent")
        own_node.kill()
        own_node.start()
        with pika.BlockingConnection(pika.URLParameters(own_node.url)) as connection:
            topology.declare_queue(connection.channel(), "other")
        until(lambda: sent(publisher, "other"), what="nothing could be sent after the restart")

        with contextlib.suppress(PublishUnconfirmed):
            publisher.publish_many("good", ({"n": n} for n in range(40)), queue="silent")

        until(lambda: sent(publisher, "other"), 15, what="one queue held up the other")


def sent(publisher, queue):
    try:
        publisher.publish("good", {"n": 0}, queue=queue)
    except PublishError:
        return False
    return True


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
