"""Publishing through links and brokers that fail: it ends in time, says why, and loses or doubles nothing."""

import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from dramatiq.middleware.threading import raise_thread_exception
from node import memory_alarm
from processes import until

from workers.errors import BrokerBlocked, BrokerUnreachable, PublishError, PublishUnconfirmed

PROOF = bool(os.environ.get("PROOF"))
FREEZES = 50 if PROOF else 8
INTERRUPTS = 2_000 if PROOF else 100
PUBLISHERS, EACH = 100, 100 if PROOF else 20
ROOT = Path(__file__).parents[2]


@contextmanager
def in_time(seconds=7):
    """The block ends within the deadlines of connecting and publishing, two seconds each, and the machine's own."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"it took {took:.1f} s"


def test_a_link_that_froze_leaves_the_message_unconfirmed(make_broker, job, noted, proxy, shop):
    send = job(make_broker(proxy.url), noted[0])
    send.send()

    proxy.freeze()
    with pytest.raises(PublishUnconfirmed) as caught, in_time():
        send.send()

    assert caught.value.safe_to_retry
    proxy.thaw()
    send.send()
    assert shop.count() >= 2, "the same thread can send again"


def test_a_link_that_froze_before_the_queue_was_declared_is_noticed(make_broker, job, noted, proxy):
    broker = make_broker(proxy.url)
    job(broker, noted[0]).send()

    proxy.freeze()
    with pytest.raises(PublishError), in_time():
        job(broker, noted[0], actor_name="elsewhere", queue_name="office").send()


@pytest.mark.parametrize("fault", ["freeze", "refuse"])
def test_a_broker_that_never_answered_is_named_unreachable(make_broker, job, noted, proxy, fault):
    getattr(proxy, fault)()
    send = job(make_broker(proxy.url), noted[0])

    with pytest.raises(BrokerUnreachable, match="nothing was sent"), in_time():
        send.send()


def test_a_memory_alarm_is_named(own_node, make_broker, job, noted):
    send = job(make_broker(own_node.url), noted[0])
    send.send()

    with memory_alarm(own_node):
        # RabbitMQ tells a connection that it is blocked when it first publishes: this message may have arrived.
        with pytest.raises(PublishUnconfirmed), in_time():
            send.send()
        with pytest.raises(BrokerBlocked, match="nothing was sent"), in_time():
            send.send()
    until(lambda: sent(send), what="nothing could be sent after the alarm")


def test_a_broker_that_restarted_is_published_to_again(own_node, make_broker, job, noted):
    send = job(make_broker(own_node.url), noted[0])
    send.send()

    own_node.kill()
    with pytest.raises(PublishError), in_time():
        send.send()
    own_node.start()

    until(lambda: sent(send), what="nothing could be sent after the restart")


def sent(send):
    try:
        send.send()
    except PublishError:
        return False
    return True


@pytest.mark.timeout(400 + 6 * FREEZES)
def test_unknown_outcomes_published_again_have_one_effect_each(make_broker, work, job, proxy, caplog):
    caplog.set_level(logging.INFO, "dutiful.jobs")
    numbers_run = []
    near, far = make_broker(), make_broker(proxy.url, publish_timeout_seconds=1)

    def note(n: int) -> None:
        numbers_run.append(n)

    job(near, note)
    send = job(far, note)
    work(near, threads=4)
    moments = random.Random(7)
    unknown, numbers = [], iter(range(1_000_000))
    lock, over = threading.Lock(), threading.Event()

    def publish_until_told():
        while not over.is_set():
            with lock:
                message = send.message(n=next(numbers))
            try:
                far.enqueue(message)
            except PublishUnconfirmed:
                with lock:
                    unknown.append(message)
                return

    for number in range(FREEZES):
        before = len(unknown)
        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(publish_until_told)
            time.sleep(moments.uniform(0.05, 0.3))
            proxy.freeze()
            until(lambda before=before: len(unknown) == before + 4, what="a publisher did not end")
        if number % 2:
            proxy.cut()  # what was held up is lost, confirms among it
        proxy.thaw()
        for message in unknown[before:]:
            until(lambda message=message: arrived(far, message), what="it could not be published again")

    count = next(numbers)
    until(lambda: len(set(numbers_run)) == count, what="a message was lost")
    until(lambda: "job_duplicate" in caplog.text, what="no message came twice, so nothing was shown")
    assert set(Counter(numbers_run).values()) == {1}
    assert len(unknown) == 4 * FREEZES


def arrived(broker, message):
    try:
        broker.enqueue(message)
    except PublishError:
        return False
    return True


def test_a_hundred_threads_lose_nothing(broker, job, noted, shop):
    send = job(broker, noted[0])

    with ThreadPoolExecutor(PUBLISHERS) as pool:
        list(pool.map(lambda n: send.send(n=n), range(PUBLISHERS * EACH)))

    assert shop.count() == PUBLISHERS * EACH


class Stop(BaseException):
    """What a program may raise in a thread of its own, as Ctrl-C does in the first one."""


def test_a_thread_that_is_interrupted_while_it_publishes_harms_no_other(broker, job, noted, shop):
    send, chance = job(broker, noted[0]), random.Random(7)
    send.send(n=0)
    ended, interrupted = threading.Event(), []

    def publish(_):
        return [send.send(n=1).message_id for _ in range(INTERRUPTS * 2)]

    def publish_and_be_interrupted():
        while not ended.is_set():
            try:
                while not ended.is_set():
                    send.send(n=2)
            except Stop:
                interrupted.append(time.monotonic())

    victim = threading.Thread(target=publish_and_be_interrupted)
    victim.start()
    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(publish, number) for number in range(3)]
        for _ in range(INTERRUPTS):
            time.sleep(chance.uniform(0, 0.01))
            raise_thread_exception(victim.ident, Stop)
        confirmed = [message_id for other in others for message_id in other.result()]
    ended.set()
    victim.join(10)

    assert not victim.is_alive()
    assert interrupted, "it never happened, so nothing is shown"
    there = {properties.message_id for properties, _ in shop.take()}
    assert set(confirmed) <= there, "a message that was confirmed is not there"


FORKING = """
import os, sys
from shop import good
from dramatiq import get_broker

good.send(n=1)
link = get_broker().publisher.link
child = os.fork()
if child == 0:
    good.send(n=2)
    names = {host.client_properties["connection_name"] for host in get_broker().publisher.link.hosts}
    assert names == {f"dutiful {os.getpid()}"}
    get_broker().close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
good.send(n=3)
assert get_broker().publisher.link is link, "the parent had to connect anew"
again = os.fork()
if again == 0:
    get_broker().close()  # a child that never published ends like any other
    sys.exit(0)
assert os.waitpid(again, 0)[1] == 0
good.send(n=4)
get_broker().close()
"""


def test_a_program_that_forks_after_it_published_can_publish_on_both_sides(rabbitmq, tmp_path, shop):
    environment = {
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
        "PYTHONPATH": f"{ROOT}:{ROOT}/tests/integration/worker_site",
    }
    command = [sys.executable, "-c", FORKING]
    done = subprocess.run(
        command, env=os.environ | environment, check=False, capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 0, done.stderr
    assert shop.count() == 4
