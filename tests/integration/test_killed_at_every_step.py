"""A worker is killed at each step between effect, commit, publish, confirm and ack: what follows always comes, once.

Short form: some steps right behind a commit. `PROOF=1` takes every step; `SEED=` chooses others.
"""

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from processes import ROOT, Queue, envelope, unset, until
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from workers.store.engine import create_store_engine, read_only

pytestmark = [pytest.mark.broker, pytest.mark.long]

PROOF = bool(os.environ.get("PROOF"))
SEED = int(os.environ.get("SEED") or 20261122)
SHORT = 4
SITE = Path(__file__).parent / "steps_site" / "steps.py"
EFFECTS = {
    "pipeline": ["started", "part 1", "part 2"],
    "callback": ["started", "part 1", "told 2", "told 8"],
    "group": ["started", "part 1", "part 4", "after"],
    "stage": ["staged 0", "staged 1", "staged 2", "part 0", "part 1", "part 2", "after"],
}


class Site:
    """One vhost, one store, and workers one after the other."""

    def __init__(self, rabbitmq, folder):
        self.queue = Queue(rabbitmq, "steps")
        self.folder = folder
        self.killed = folder / "killed"
        self.killed.touch()
        store = f"sqlite:///{folder}/store.db"
        self.engine = create_store_engine(store)
        ours = {"DUTIFUL_RABBITMQ__URL": rabbitmq, "DUTIFUL_STORE__URL": store, "DUTIFUL_METRICS__PORT": "0"}
        self.environment = unset() | ours | {"PYTHONPATH": str(ROOT)}
        self.children = []

    def work(self, step):
        with (self.folder / "worker.log").open("ab") as output:
            command = [sys.executable, str(SITE), str(self.killed), str(step)]
            child = subprocess.Popen(command, env=self.environment, cwd=self.folder, stdout=output, stderr=output)
        self.children.append(child)
        return child

    def ask(self, kind, n):
        self.queue.publish(envelope("stage" if kind == "stage" else "start", queue="steps", kind=kind, n=n))

    def rows(self, query):
        try:
            with read_only(self.engine).connect() as connection:
                return connection.execute(text(query)).scalars().all()
        except OperationalError:
            return []  # the table comes with the first effect

    def effects(self):
        return Counter(self.rows("SELECT what FROM effects"))

    def log(self):
        return self.killed.read_text() + (self.folder / "worker.log").read_text()[-3000:]


@pytest.fixture
def site(rabbitmq, tmp_path):
    site = Site(rabbitmq, tmp_path)
    yield site
    for child in site.children:
        child.kill()
        child.wait()
    site.engine.dispose()


def expected(kind, numbers):
    return Counter(f"{kind} {n} {what}" for n in numbers for what in EFFECTS[kind])


def is_over(site, kind, numbers):
    found = site.effects()
    assert not found - expected(kind, numbers), f"something came twice: {found - expected(kind, numbers)}; {site.log()}"
    return found == expected(kind, numbers) and not site.rows("SELECT message_id FROM dutiful_outbox")


@pytest.mark.timeout(900 if PROOF else 600)
@pytest.mark.parametrize("kind", EFFECTS)
def test_a_worker_killed_at_any_step_goes_on_and_does_nothing_twice(site, kind):
    chance = random.Random(f"{SEED} {kind}")
    first = site.work(0)
    until(site.queue.exists, what=site.log())
    site.ask(kind, 0)
    until(lambda: is_over(site, kind, [0]), what="the undisturbed run did not end")
    first.kill()
    first.wait()
    names = [line.partition(": ")[2] for line in site.killed.read_text().splitlines()]
    steps = [step for step, name in enumerate(names, 1) if PROOF or name == "after commit"]
    site.killed.write_text("")

    asked = [0]
    for step in steps if PROOF else chance.sample(steps, SHORT):
        child = site.work(step)
        asked.append(step)
        site.ask(kind, step)
        until(lambda child=child, asked=asked: child.poll() is not None or is_over(site, kind, asked), what=site.log())
        child.kill()  # it had fewer steps than that: every one of them has had its turn
        child.wait()

    site.work(-1)
    until(lambda: is_over(site, kind, asked), what=site.log())
    assert site.killed.read_text(), "nobody was killed"
    until(lambda: site.queue.count() == 0, what="a message is left")
    assert site.queue.dead() == []
    assert site.rows("SELECT id FROM dutiful_groups WHERE completed_at IS NULL") == []
