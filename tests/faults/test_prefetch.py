"""No job waits in a process whose threads are all busy while a thread is idle elsewhere; the jobs' records prove it."""

import os
import time
from dataclasses import dataclass

import pytest
from processes import Queue, envelope, until

PROOF = bool(os.environ.get("PROOF"))
LONG_SECONDS = 10 if PROOF else 3
SHORT_SECONDS = 0.01
PROCESSES, THREADS = 2, 4
LONG_JOBS, WAVES = 4, 4
A_WAVE = 50
PATIENCE_SECONDS = 1


@dataclass(frozen=True)
class Run:
    """One job: when it was ready on the broker, who ran it, and when."""

    ready: float
    pid: int
    thread: int
    began: float
    ended: float


@pytest.fixture
def mixed(start, rabbitmq):
    """mixed(**environment): the runs of jobs that were published in waves to two workers, long ones among the short."""

    def run(**environment):
        worker = start("-p", str(PROCESSES), "-t", str(THREADS), site="mixed", **environment)
        queue, ready = Queue(rabbitmq, "mixed"), {}
        for number in range(WAVES):
            # RabbitMQ deals out to one process, then to the other: all of a wave's long jobs come to the same one.
            seconds = [LONG_SECONDS if n < 2 * LONG_JOBS and n % 2 else SHORT_SECONDS for n in range(A_WAVE)]
            numbers = range(number * A_WAVE, (number + 1) * A_WAVE)
            asked = time.monotonic()
            wave = zip(numbers, seconds, strict=True)
            queue.publish(*(envelope("timed", queue="mixed", n=n, seconds=each) for n, each in wave))
            ready |= dict.fromkeys(numbers, asked)
            until(lambda done=numbers[-1] // 2: len(worker.lines()) > done, seconds=4 * LONG_SECONDS)
        until(lambda: len(worker.lines()) == len(ready), seconds=20 * LONG_SECONDS, what="not every job ran")
        return [recorded(ready, line) for line in worker.lines()]

    return run


def recorded(ready, line):
    number, pid, thread, began, ended = line.split()
    return Run(ready[int(number)], int(pid), int(thread), float(began), float(ended))


def idle_times(runs):
    """pid → the times during which one thread of it was idle, as (from, to); a thread that ran nothing always was."""
    first, last = min(run.ready for run in runs), max(run.ended for run in runs)
    threads = {}
    for run in sorted(runs, key=lambda run: run.began):
        threads.setdefault((run.pid, run.thread), []).append(run)
    found = {pid: [] for pid, _ in threads}
    for (pid, _), own in threads.items():
        ends = [first, *(run.ended for run in own)]
        found[pid] += zip(ends, [*(run.began for run in own), last], strict=True)
    for pid in found:
        found[pid] += [(first, last)] * (THREADS - sum(owner == pid for owner, _ in threads))
    if len(found) < PROCESSES:
        found[0] = [(first, last)]
    return found


def longest_waits(runs):
    """For each job, the longest time that it waited while one and the same thread of another process was idle."""
    idle = idle_times(runs)
    return [
        max(min(run.began, to) - max(run.ready, since) for pid in idle if pid != run.pid for since, to in idle[pid])
        for run in runs
    ]


@pytest.mark.timeout(400 + 40 * LONG_SECONDS)
def test_no_job_waits_while_a_thread_is_idle_elsewhere(mixed):
    runs = mixed()

    assert max(longest_waits(runs)) <= PATIENCE_SECONDS
    assert {run.pid for run in runs if run.ended - run.began >= LONG_SECONDS} == {run.pid for run in runs}


@pytest.mark.skipif(not PROOF, reason="PROOF=1 runs it")
@pytest.mark.timeout(400 + 40 * LONG_SECONDS)
def test_jobs_would_wait_if_the_queue_were_declared_short(mixed):
    """The test above can fail."""
    assert max(longest_waits(mixed(MIXED_IS_SHORT="1"))) > PATIENCE_SECONDS
