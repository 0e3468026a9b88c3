"""A queue never waits for another's backlog, and a delayed job never for another's delay."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pika
import pytest
from processes import until

from workers.transport import topology

PROOF = bool(os.environ.get("PROOF"))
DELAYED = 20_000 if PROOF else 3_000
BACKLOG = 5_000
HOUR_MS = 3_600_000
IN_TIME_SECONDS = 1.6 if PROOF else 4.0  # beside other tests, this machine itself is late


def publish_many(send, count, **options):
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda n: send.send_with_options(kwargs={"n": n}, **options), range(1, count + 1)))


@pytest.mark.timeout(600)
def test_a_second_is_a_second_beside_many_jobs_delayed_by_an_hour(broker, work, job, noted):
    note, notes = noted
    send = job(broker, note)
    publish_many(send, DELAYED, delay=HOUR_MS)
    work(broker)

    asked = time.monotonic()
    send.send_with_options(kwargs={"n": 0}, delay=1000)

    until(lambda: notes)
    ((number, ran),) = notes
    assert number == 0
    assert 1.0 <= ran - asked < IN_TIME_SECONDS


def test_forty_messages_for_a_queue_that_is_gone_stop_no_other(broker, work, job, noted, vhost):
    """A ladder that waits for what can't be delivered would stop. Stock has no ladder, so nothing there could stop:

    its workers hold what is delayed, and declare a queue that is gone again. This test has no twin.
    """
    note, notes = noted
    here = job(broker, note)
    gone = job(broker, note, actor_name="gone", queue_name="gone")
    publish_many(gone, 40, delay=500)
    vhost.delete("queues", "gone")
    until(lambda: vhost.shop.count(topology.UNDELIVERABLE) == 40, what="they were not set apart")

    broker.queues.discard("gone")  # else the worker would declare it again
    work(broker)
    asked = time.monotonic()
    here.send_with_options(delay=1000)

    until(lambda: notes)
    assert notes[0][1] - asked < IN_TIME_SECONDS


def test_what_finds_no_next_queue_goes_on_within_seconds_once_there_is_one(own_node):
    """As on a ladder whose queues come up one after the other; RabbitMQ itself would try again after three minutes."""
    with closing(pika.BlockingConnection(pika.URLParameters(own_node.url))) as connection:
        channel = connection.channel()
        channel.exchange_declare("nowhere", "fanout")
        ladder = {"x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
        expiring = {"x-message-ttl": 1, "x-dead-letter-exchange": "nowhere"}
        channel.queue_declare("upper", durable=True, arguments=ladder | expiring)
        channel.confirm_delivery()
        channel.basic_publish("", "upper", b"a job", mandatory=True)
        until(lambda: "Cannot forward any dead-letter messages" in own_node.log(), what="it found a way")

        channel.queue_declare("lower", durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind("lower", "nowhere")

        until(lambda: channel.basic_get("lower", auto_ack=True)[2] == b"a job", seconds=30, what="it was not sent on")


def test_a_job_waits_for_no_backlog_of_another_queue(broker, work, job, shop):
    took, busy = [], []

    def hurried(asked: float) -> None:
        took.append(time.time() - asked)

    def slow() -> None:
        busy.append(1)
        time.sleep(0.01)

    backlog = job(broker, slow)
    hurry = job(broker, hurried, queue_name="express")
    broker.declare_queue("express", ensure=True)
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: backlog.send(), range(BACKLOG)))
    work(broker, threads=2)
    until(lambda: busy)

    for number in range(5):
        hurry.send(asked=time.time())
        until(lambda number=number: len(took) == number + 1)

    assert max(took) < 1
    assert shop.count() > 0, "the backlog was to be there still"
