"""A queue never waits for another's backlog, and a delayed job never for another's delay."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from processes import until

from workers.transport import topology

PROOF = bool(os.environ.get("PROOF"))
DELAYED = 20_000 if PROOF else 3_000
BACKLOG = 5_000
HOUR_MS = 3_600_000


def publish_many(send, count, **options):
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda n: send.send_with_options(kwargs={"n": n}, **options), range(1, count + 1)))


@pytest.mark.timeout(600 if PROOF else 120)
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
    assert 1.0 <= ran - asked < 1.6


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
    assert notes[0][1] - asked < 1.6


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
