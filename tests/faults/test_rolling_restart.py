"""A deploy costs nothing, and a death costs seconds: workers are replaced, and one is killed, under load."""

import itertools
import os
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pika
import pytest
from processes import envelope, until
from sqlalchemy import create_engine, select

from workers.store import tables

PROOF = bool(os.environ.get("PROOF"))
WORKERS = 3 if PROOF else 2
ROUNDS = 10 if PROOF else 2
KILLS = 10 if PROOF else 1
RATE = 300 if PROOF else 60
LONGEST_GAP_SECONDS = 10


class Load(threading.Thread):
    """Publishes so many jobs a second until it is told to end."""

    def __init__(self, url, first):
        super().__init__()
        self.url, self.first, self.next, self.ended = url, first, first, threading.Event()

    def run(self):
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            began = time.monotonic()
            for number in itertools.count(self.first):
                if self.ended.wait(max(0.0, began + (number - self.first) / RATE - time.monotonic())):
                    return
                body = envelope("wait", n=number, sent=time.time())
                channel.basic_publish("dutiful.jobs", "shop", body, pika.BasicProperties(delivery_mode=2))
                self.next = number + 1


@pytest.fixture
def load(rabbitmq):
    """Publish while the block runs: load(first number)."""

    @contextmanager
    def publishing(first):
        running = Load(rabbitmq, first)
        running.start()
        try:
            yield running
        finally:
            running.ended.set()
            running.join()

    return publishing


def ended(folder):
    engine = create_engine(f"sqlite:///{folder}/store.db")
    with engine.connect() as connection:
        found = Counter(map(tuple, connection.execute(select(tables.keys.c.state, tables.keys.c.attempt))))
    engine.dispose()
    return found


def runs(worker, first, last):
    """How often each job ran, and how long each had waited."""
    lines = [line.split() for line in worker.lines()]
    found = [(int(number), float(waited)) for number, waited, _ in lines if first <= int(number) < last]
    return Counter(number for number, _ in found), sorted(waited for _, waited in found)


def said(what, waits):
    print(  # noqa: T201  a figure that people ask for
        f"{what}: wait p50 {waits[len(waits) // 2]:.3f} s, p99 {waits[len(waits) * 99 // 100]:.3f} s, {waits[-1]:.3f} s"
    )


@pytest.mark.timeout(400 + 60 * ROUNDS)
def test_workers_replaced_under_load_lose_double_and_charge_nothing(start, shop, load, tmp_path):
    begin = lambda: start("-p", "1", "-t", "4", site="deployed")  # noqa: E731
    workers = [begin() for _ in range(WORKERS)]
    with load(0) as deploy:
        for _, number in itertools.product(range(ROUNDS), range(WORKERS)):
            workers[number].process.send_signal(signal.SIGTERM)
            assert workers[number].process.wait(timeout=30) == 0, workers[number].text()[-3000:]
            workers[number] = begin()
    until(lambda: len(runs(workers[0], 0, deploy.next)[0]) == deploy.next, what="a job was lost")
    until(lambda: ended(tmp_path) == {("done", 1): deploy.next}, what="a job was charged")
    counted, waits = runs(workers[0], 0, deploy.next)
    assert set(counted.values()) == {1}, "a job ran twice"
    said(f"{ROUNDS * WORKERS} restarts", waits)

    with load(deploy.next) as deaths:
        for _ in range(KILLS):
            os.kill(workers[0].children()[0], signal.SIGKILL)
            workers[0].process.wait(timeout=30)
            workers[0] = begin()
    until(lambda: len(runs(workers[0], 0, deaths.next)[0]) == deaths.next, what="a job was lost")
    _, waits = runs(workers[0], deploy.next, deaths.next)
    said(f"{KILLS} kills", waits)
    assert waits[len(waits) * 99 // 100] < LONGEST_GAP_SECONDS
    for worker in workers:
        assert worker.stop()[0] == 0
    assert (shop.count(), shop.dead()) == (0, [])
