"""A worker that is told to stop hands back what it has not begun, whatever else it is busy with."""

import os
import re
import signal
import threading
import time

import pytest
from dramatiq import Middleware
from processes import Queue, envelope, until
from sqlalchemy import create_engine, select

from workers.store import tables

PROOF = bool(os.environ.get("PROOF"))
RESTARTS = 10 if PROOF else 3
PREFETCHED = 500 if PROOF else 300
THREADS = 8
HANDED_BACK_SECONDS = 2 if PROOF else 5  # beside other tests, this machine itself is late


@pytest.fixture
def brief(rabbitmq):
    return Queue(rabbitmq, "brief")


@pytest.fixture
def unended(tmp_path):
    """The keys in the store that belong to jobs that have not ended: (state, attempt)."""
    engine = create_engine(f"sqlite:///{tmp_path}/store.db")

    def find():
        with engine.connect() as connection:
            found = connection.execute(select(tables.keys.c.state, tables.keys.c.attempt, tables.keys.c.actor))
            return {tuple(row) for row in found if row.state != "done"}

    yield find
    engine.dispose()


def began(worker):
    """number → when, of each brief job that ran as its first attempt; none may have run twice."""
    found = [re.fullmatch(r"brief (\d+) 1 ([\d.]+)", line) for line in worker.lines() if "brief" in line]
    assert all(found), worker.lines()
    moments = {int(match[1]): float(match[2]) for match in found}
    assert len(moments) == len(found), "a job ran twice"
    return moments


def wait_for(worker, line):
    until(lambda: line in worker.lines())


def prefetch(worker, brief, published):
    """Let the worker hold hundreds of jobs; how many were published until now."""
    done = len(began(worker))
    more = range(published, done + PREFETCHED)
    brief.publish(*(envelope("brief", queue="brief", n=n) for n in more))
    until(lambda: brief.count() == 0, what="they were not prefetched")
    until(lambda: len(began(worker)) > done)
    return more.stop


def stop(worker, brief, published):
    """Ask it to stop; all that had not begun must be back, although it still runs a long job. When it was asked."""
    asked = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: brief.count() and brief.count() == published - len(began(worker)), what="they are not all back")
    assert time.monotonic() - asked < HANDED_BACK_SECONDS
    return asked


@pytest.mark.long
@pytest.mark.timeout(400 + 30 * RESTARTS)
def test_restarts_with_hundreds_of_short_jobs_prefetched_cost_nothing(start, shop, brief, unended, tmp_path):
    published = 0
    for number in range(RESTARTS):
        worker = start("-p", "1", "-t", str(THREADS), site="brief")
        # On one thread; the others end soon.
        shop.publish(envelope("long", n=number))
        wait_for(worker, f"long {number} began")
        published = prefetch(worker, brief, published)

        asked = stop(worker, brief, published)
        (tmp_path / f"gate {number}").touch()
        assert worker.process.wait(timeout=30) == 0
        assert worker.lines().count(f"long {number} ended") == 1
        assert max(began(worker).values()) < asked + HANDED_BACK_SECONDS
        assert brief.count() == published - len(began(worker))
        assert unended() <= {("waiting", 1, "brief")}

    worker = start("-p", "1", "-t", str(THREADS), site="brief")
    until(lambda: len(began(worker)) == published, what="a job was lost")
    assert worker.stop()[0] == 0
    assert (brief.count(), brief.dead(), shop.dead(), unended()) == (0, [], [], set())


class HeldUp(Middleware):
    """Lets a batch of brief jobs be claimed, and no further until it may go on."""

    def __init__(self):
        self.came, self.may_go = threading.Event(), threading.Event()

    def prepare(self, _broker, deliveries):
        if deliveries[0].queue_name == "brief":
            self.came.set()
            assert self.may_go.wait(20)


def test_what_was_on_its_way_to_the_threads_waits_for_no_long_job(broker, work, job, brief, noted):
    note, notes = noted
    busy, may_end, held_up = threading.Event(), threading.Event(), HeldUp()
    broker.add_middleware(held_up)

    def long() -> None:
        busy.set()
        assert may_end.wait(20)

    send_long, send = job(broker, long), job(broker, note, queue_name="brief", short=True)
    worker = work(broker, threads=2)
    send_long.send()
    assert busy.wait(10)
    broker.enqueue_many([send.message(n=n) for n in range(100)])
    assert held_up.came.wait(10)

    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    until(lambda: broker.is_stopping)
    held_up.may_go.set()
    try:
        until(lambda: brief.count() == 100, seconds=HANDED_BACK_SECONDS, what="they are not all back")
    finally:
        may_end.set()
        stopping.join()
    assert notes == []
