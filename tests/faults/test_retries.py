"""A job that failed is retried, dead, or still in its queue; whatever RabbitMQ says, it is never nowhere."""

import os
import time
from datetime import timedelta

import pytest
from processes import until

from workers import RetryLater, current_job
from workers.errors import PublishRefused
from workers.transport import topology

PROOF = bool(os.environ.get("PROOF"))
ROUNDS = 100 if PROOF else 30


@pytest.fixture
def stubborn(broker, job):
    """An actor that asks to come back in an hour until it is told that it may end, and the attempts that it made."""
    attempts, may_end, ended = [], [], []

    def stubborn() -> None:
        attempts.append(current_job().attempt)
        if not may_end:
            raise RetryLater("come back", delay=timedelta(hours=1))
        ended.append(True)

    send = job(broker, stubborn)
    send.attempts, send.may_end, send.ended = attempts, may_end, ended
    return send


def ended_without_a_trace(broker, worker, shop):
    worker.stop()
    broker.close()
    return shop.count() == 0 and shop.dead() == []


def test_one_that_the_delay_queue_refuses_is_not_lost(broker, work, vhost, shop, stubborn):
    exchange, _ = topology.delay_route(3_600_000, "shop")
    broker.declare_queue("shop", ensure=True)
    vhost.limit(exchange, 0)
    until(lambda: refused(stubborn), what="the delay queue took everything")
    worker = work(broker)

    stubborn.send()

    until(lambda: len(stubborn.attempts) >= 2, what="the job whose retry was refused did not run again")
    stubborn.may_end.append(True)
    until(lambda: stubborn.ended, what="it was not run once more")
    assert ended_without_a_trace(broker, worker, shop)
    assert set(stubborn.attempts) == {1}, "an attempt whose end could not be published is not spent"


def refused(send):
    try:
        send.send_with_options(delay=3_600_000)
    except PublishRefused:
        return True
    return False


def test_one_whose_exchange_was_deleted_is_not_lost(broker, work, vhost, shop, stubborn):
    exchange, _ = topology.delay_route(3_600_000, "shop")
    broker.declare_queue("shop", ensure=True)
    worker = work(broker)

    vhost.delete("exchanges", exchange)
    stubborn.send()

    until(lambda: shop.count(exchange) == 1, what="the exchange was not declared again, or the retry not published")
    worker.stop()
    broker.close()
    assert stubborn.attempts == [1]
    assert shop.count() == 0, "the first attempt was acknowledged once its retry was confirmed"


def test_one_whose_link_is_cut_is_not_lost(make_broker, work, job, proxy, shop):
    broker, ran = make_broker(proxy.url), []

    def unlucky() -> None:
        ran.append(time.monotonic())
        if len(ran) == 1:
            proxy.refuse()
            raise RuntimeError("and the retry can't be published")

    send = job(broker, unlucky, min_backoff=timedelta(milliseconds=100), max_backoff=timedelta(milliseconds=100))
    send.send()
    worker = work(broker)

    until(lambda: ran, what="the job did not run")
    time.sleep(broker.publish_timeout_seconds)  # the retry is given up while nobody is let in
    proxy.admit()
    until(lambda: len(ran) >= 2, what="the job did not run again")
    assert ended_without_a_trace(broker, worker, shop)


def test_a_job_that_fails_many_times_comes_back_each_time(broker, work, job, shop):
    attempts = []

    def failing() -> None:
        attempts.append(current_job().attempt)
        if len(attempts) <= ROUNDS:
            raise RuntimeError("not yet")

    pause = timedelta(milliseconds=100)
    send = job(broker, failing, max_retries=ROUNDS, min_backoff=pause, max_backoff=pause)
    worker = work(broker)
    send.send()

    until(lambda: len(attempts) == ROUNDS + 1, seconds=ROUNDS, what="it was lost")
    assert ended_without_a_trace(broker, worker, shop)
    assert attempts == list(range(1, ROUNDS + 2))
