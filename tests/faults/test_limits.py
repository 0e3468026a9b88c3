"""A job that can't be interrupted costs itself an attempt, and its neighbours nothing."""

import signal
import time

import pytest
from processes import envelope, until

STUCK = 64
FAST = {"DUTIFUL_WORKER__GRACE_SECONDS": "1"}


def ways(worker):
    return [line for line in worker.lines() if line.endswith("began")]


def dead(shop):
    return [
        (properties.headers["dutiful-reason"], properties.headers["dutiful-attempts"]) for properties, _ in shop.dead()
    ]


def test_stuck_threads_are_replaced_and_the_process_hands_over(start, shop):
    """One that is stuck keeps nothing from running on the only thread; when idle, the process ends by itself."""
    worker = start("-p", "1", "-t", "1", site="hanging", **FAST)
    shop.publish(envelope("hangs", way="sleeps"))
    until(lambda: "sleeps began" in worker.lines())
    shop.publish(*(envelope("neighbour", seconds=n / 10) for n in range(3)))

    assert worker.process.wait(timeout=30) == STUCK
    assert "stuck past its hard limit" in worker.text()
    assert "time.sleep(3600)" in worker.text()
    assert dead(shop) == [("time_limit", 1)]
    following = start("-p", "1", "-t", "1", site="hanging", **FAST)
    until(lambda: {f"neighbour ended {n / 10}" for n in range(3)} <= set(following.lines()))
    assert len(following.lines()) == 7, "a neighbour ran twice"


def test_a_second_stuck_job_ends_the_process_and_its_neighbour_is_interrupted_uncharged(start, shop):
    worker = start("-p", "1", "-t", "3", site="hanging", **FAST)
    shop.publish(
        *(envelope("hangs", way=way) for way in ("listens", "waits_for_a_lock")), envelope("neighbour", seconds=60)
    )

    assert worker.process.wait(timeout=30) == STUCK
    assert sorted(dead(shop)) == [("time_limit", 1)] * 2
    (interrupted,) = worker.events("job_interrupted")
    assert (interrupted["actor"], interrupted["attempt"], shop.count()) == ("neighbour", 1, 1)


def test_a_worker_thread_that_has_died_ends_the_process_within_seconds(start, shop):
    worker = start("-p", "1", "-t", "2", site="hanging")
    shop.publish(envelope("hangs", way="loses_its_thread"))
    until(lambda: "loses_its_thread began" in worker.lines())
    began = time.monotonic()

    assert worker.process.wait(timeout=30) == STUCK
    assert "a worker thread has died" in worker.text()
    assert time.monotonic() - began < 10  # noticed within 2 s; the rest is leaving in order
    assert (shop.count(), shop.dead()) == (0, [])


@pytest.mark.parametrize("way", ["keeps_the_gil", "backtracks"])
def test_code_that_keeps_the_gil_past_its_limit_ends_the_process(start, shop, way):
    worker = start("-p", "1", "-t", "2", site="hanging")
    shop.publish(envelope("hangs", way=way))

    assert worker.process.wait(timeout=30) == 1
    assert f"in {way}" in worker.text()
    assert shop.count() == 1


def test_a_second_sigterm_hastens_and_still_hands_back(start, shop):
    worker = start("-p", "1", "-t", "1", site="hanging")
    shop.publish(envelope("neighbour", seconds=60))
    until(worker.lines)
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: "Stopping worker process" in worker.text())
    worker.process.send_signal(signal.SIGTERM)

    assert worker.process.wait(timeout=10) == 0
    (interrupted,) = worker.events("job_interrupted")
    assert (interrupted["reason"], shop.count(), shop.dead()) == ("shutdown", 1, [])
