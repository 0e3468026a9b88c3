"""A job that kills its worker ends as a dead letter; what was prefetched or ran beside it is not blamed, nor lost."""

import os
from collections import Counter

import pytest
from processes import Queue, envelope, until
from sqlalchemy import create_engine, select

from workers.store import tables

PROOF = bool(os.environ.get("PROOF"))
NEIGHBOURS = 1000 if PROOF else 100
THREADS = 2  # of a queue of short jobs, 128 are prefetched


@pytest.fixture
def crowd(rabbitmq):
    return Queue(rabbitmq, "crowd")


@pytest.fixture
def ended(tmp_path):
    """How many keys the store has of each actor, state and attempt."""
    engine = create_engine(f"sqlite:///{tmp_path}/store.db")

    def count():
        with engine.connect() as connection:
            columns = tables.keys.c
            return Counter(map(tuple, connection.execute(select(columns.actor, columns.state, columns.attempt))))

    yield count
    engine.dispose()


@pytest.fixture
def supervised(start):
    """A worker that is started again when it ends, as a supervisor does: until(what it waits for) → how often."""

    def run(done, seconds=90):
        worker, starts = start("-p", "1", "-t", str(THREADS), site="deadly"), 1

        def is_done():
            nonlocal worker, starts
            if worker.process.poll() is not None:
                worker, starts = start("-p", "1", "-t", str(THREADS), site="deadly"), starts + 1
            return done(worker)

        until(is_done, seconds=seconds, what=worker.text()[-2000:])
        return worker, starts

    return run


def publish(crowd, crasher, neighbour, way):
    """One that dies in the middle of many; all are there before a worker is."""
    half = NEIGHBOURS // 2
    good = [envelope(neighbour, queue="crowd", n=n) for n in range(NEIGHBOURS)]
    crowd.publish(*good[:half], envelope(crasher, queue="crowd", way=way), *good[half:])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["segfaults", "exits"] if PROOF else ["segfaults"])
def test_a_job_that_kills_its_worker_is_a_dead_letter_and_its_neighbours_succeed_once(
    start, crowd, supervised, ended, way
):
    start("-p", "1", "-t", "1", site="deadly").stop()  # it has declared the queue
    publish(crowd, "dies_in_crowd", "goes_along", way)
    worker, starts = supervised(lambda worker: worker.events("job_dead") and crowd.count() == 0)
    until(lambda: ended()["goes_along", "done", 1] == NEIGHBOURS, what=f"a neighbour was lost or charged: {ended()}")

    succeeded = Counter(each["message_id"] for each in worker.events("job_succeeded"))
    assert set(succeeded.values()) == {1}, "a neighbour succeeded twice"
    ((properties, _),) = crowd.dead()
    assert properties.headers["dutiful-reason"] == "crashed"
    assert properties.type == "dies_in_crowd"
    assert starts == 2, "it has killed more than one worker"
    assert worker.stop()[0] == 0


@pytest.mark.timeout(600)
def test_so_is_one_without_a_key(start, crowd, supervised):
    start("-p", "1", "-t", "1", site="deadly").stop()
    publish(crowd, "dies_keyless", "goes_along_keyless", "exits")
    worker, starts = supervised(lambda worker: worker.events("job_dead") and crowd.count() == 0)
    until(lambda: {f"neighbour {n}" for n in range(NEIGHBOURS)} <= set(worker.lines()))

    ((properties, _),) = crowd.dead()
    assert (properties.headers["dutiful-reason"], properties.type) == ("crashed", "dies_keyless")
    assert starts == 2
    assert worker.stop()[0] == 0
