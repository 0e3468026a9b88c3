"""A job in a child process can do what a job in a thread can, and its death is its own."""

import os
import re
import signal

import pytest
from processes import envelope, until

from workers.store import processes

FAST = {"DUTIFUL_WORKER__GRACE_SECONDS": "1"}
HANGS = ("sleeps", "listens", "waits_for_a_lock", "keeps_the_gil", "backtracks")


def letters(shop):
    """What each dead letter says: way → (reason, attempts, exception)."""
    found = {}
    for properties, body in shop.dead():
        said = properties.headers
        way = re.search(rb'"way": ?"(\w+)"', body)[1].decode()
        found[way] = (said["dutiful-reason"], said["dutiful-attempts"], said["dutiful-exception-type"])
    return found


def pids(worker, word):
    return [int(line.rpartition(" ")[2]) for line in worker.lines() if line.startswith(word) and " in " in line]


def gone(pid):
    return not processes.started(pid)


def test_a_job_in_a_child_does_what_any_job_does(start, shop):
    worker = start("-p", "1", "-t", "2", site="deadly")
    shop.publish(envelope("effective", n=10), envelope("asynchronous", n=1), envelope("dies_once", way="raises"))
    until(lambda: {"good 11", "good 12", "good 13", "asynchronous 1 1"} <= set(worker.lines()))
    until(lambda: worker.events("job_dead"))

    assert "with {'half': 10}" in worker.text()
    (dead,) = worker.events("job_dead")
    assert "def die" not in dead["exception"]
    assert "raise OwnError" in dead["exception"], "it doesn't say where"
    assert letters(shop) == {"raises": ("retries_exhausted", 1, "OwnError")}
    assert worker.stop()[0] == 0
    assert len(worker.lines()) == 5, "a job ran twice"


def test_whatever_an_isolated_job_does_it_harms_nothing_else(start, shop):
    worker = start("-p", "1", "-t", "2", site="deadly")
    shop.publish(*(envelope("hangs_isolated", way=way) for way in HANGS))
    shop.publish(*(envelope("dies_once", way=way) for way in ("segfaults", "exits", "hoards")))
    shop.publish(*(envelope("good", n=n) for n in range(100)))
    found = {}
    until(lambda: found.update(letters(shop)) or len(found) == 8, seconds=60, what=f"only {found}")

    assert {way: found[way][:2] for way in HANGS} == dict.fromkeys(HANGS, ("time_limit", 1))
    assert found["segfaults"] == found["exits"] == ("crashed", 1, "Crashed")
    assert found["hoards"] == ("retries_exhausted", 1, "MemoryError")
    until(lambda: {f"good {n}" for n in range(100)} <= set(worker.lines()))
    assert worker.process.poll() is None
    assert len([line for line in worker.lines() if line.startswith("good")]) == 100


@pytest.mark.parametrize("way", ["told to stop", "killed"])
def test_children_end_with_their_worker(start, shop, way):
    worker = start("-p", "1", "-t", "2", site="deadly", **FAST)
    shop.publish(envelope("waits", n=1), envelope("dies_once", way="keeps_the_gil"))
    until(lambda: len(pids(worker, "")) == 2, what=worker.text())
    family = pids(worker, "")
    if way == "killed":
        for child in worker.children():
            os.kill(child, signal.SIGKILL)
    else:
        worker.process.send_signal(signal.SIGTERM)
        until(lambda: "waits 1 cleaned up" in worker.lines(), seconds=10)

    until(lambda: all(map(gone, family)), seconds=20, what="a child lives on")
    if way == "told to stop":
        interrupted = {(each["actor"], each["attempt"], each["reason"]) for each in worker.events("job_interrupted")}
        assert interrupted == {("waits", 1, "shutdown"), ("dies_once", 1, "shutdown")}, "one was charged"
