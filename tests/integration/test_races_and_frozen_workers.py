"""Two processes want one key: one effect, every time; and a process that slept past its lease can't complete a job.

Short form: 200 races. `PROOF=1` makes it 1,000; `SEED=` chooses another order.
"""

import os
import random
import signal
import time
from collections import Counter

import httpx
import pytest
from ledger import Bank, wait_for_end
from processes import until

from deploy.local import ports

pytestmark = [pytest.mark.broker, pytest.mark.long]

PROOF = bool(os.environ.get("PROOF"))
SEED = int(os.environ.get("SEED") or 20261122)
RACES = 1_000 if PROOF else 200
LEASE_SECONDS = 20


@pytest.fixture
def bank(rabbitmq, postgres, tmp_path):
    bank = Bank(rabbitmq, postgres, tmp_path)
    yield bank
    bank.close()


@pytest.mark.timeout(600)
def test_two_processes_that_race_for_a_key_have_one_effect(bank):
    """RabbitMQ gives messages to the two in turn, so the two copies of a key mostly meet in two processes."""
    chance = random.Random(SEED)
    pair = [bank.start(), bank.start()]
    races = [(chance.choice(["safe", "bare"]), n) for n in range(RACES)]

    bank.publish([race for race in races for _ in range(2)])
    wait_for_end(bank, RACES, 60)

    effects = Counter((row.kind, row.n) for row in bank.rows("SELECT kind, n FROM effects"))
    assert effects == Counter(races)
    assert bank.queue.dead() == []
    met = len(seen_by(pair[0]) & seen_by(pair[1]))
    print(f"{RACES} races, seed {SEED}: one effect each; {met} had a copy in either process")  # noqa: T201
    assert met > RACES / 10, "the copies hardly ever met"


def seen_by(worker):
    """Which keys a process has had a message of."""
    events = [each for name in ("succeeded", "duplicate", "deferred") for each in worker.events(f"job_{name}")]
    return {(each["actor"], each["key"]) for each in events}


def test_a_process_that_slept_past_its_lease_cannot_complete_its_jobs(bank):
    """Without transaction() the effect is doubled: the log says so, and the attempt is counted as interrupted."""
    (port,) = ports.choose(1)
    sleeper = bank.start(DUTIFUL_METRICS__PORT=str(port))
    (pid,) = sleeper.children()[:1]
    jobs = [("held_safe", 1), ("held_bare", 1)]
    bank.publish(jobs)
    until(lambda: len(bank.lines()) == len(jobs), what="the jobs did not begin")

    os.kill(pid, signal.SIGSTOP)
    frozen = time.monotonic()
    bank.start()
    bank.publish(jobs)  # copies: the first ones are still with the process that sleeps
    until(lambda: bank.ended() == len(jobs), LEASE_SECONDS + 45, what=f"nobody took over: {bank.state()}")
    taken_over = time.monotonic() - frozen
    assert Counter(effects(bank, sleeper)) == {("held_safe", "elsewhere"): 1, ("held_bare", "elsewhere"): 1}

    (bank.folder / "gate").touch()
    os.kill(pid, signal.SIGCONT)
    until(lambda: sleeper.events("job_superseded") and sleeper.events("job_interrupted"), what=sleeper.text()[-3000:])

    assert taken_over > LEASE_SECONDS - 6, "the lease was renewed up to 5 s before, and is good for 20 s"
    (superseded,), (interrupted,) = sleeper.events("job_superseded"), sleeper.events("job_interrupted")
    assert (superseded["actor"], superseded["reason"]) == ("held_safe", "claim_lost")
    assert (interrupted["actor"], interrupted["reason"]) == ("held_bare", "claim_lost")
    once = {("held_safe", "elsewhere"): 1, ("held_bare", "elsewhere"): 1, ("held_bare", "here"): 1}
    assert Counter(effects(bank, sleeper)) == once
    assert sorted(bank.rows("SELECT actor, state, attempt, fence FROM dutiful_keys")) == [
        ("held_bare", "done", 1, 2),
        ("held_safe", "done", 1, 2),
    ]
    counted = until(lambda: lost(port), what="the lost claims were not counted")
    print(f"taken over after {taken_over:.1f} s; counted: {counted}")  # noqa: T201


def effects(bank, worker):
    """What was done, and whether a process of that worker did it."""
    done = bank.rows("SELECT kind, command FROM effects")
    return [(row.kind, "here" if row.command == worker.process.pid else "elsewhere") for row in done]


def lost(port):
    """What /metrics says of them, once it says both."""
    wanted = (
        'dutiful_jobs_finished_total{actor="held_safe",outcome="superseded",queue="held"} 1.0',
        'dutiful_job_attempts_total{actor="held_bare",outcome="interrupted",queue="held"} 1.0',
    )
    found = [line for line in httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines() if line in wanted]
    return found if len(found) == len(wanted) else None
