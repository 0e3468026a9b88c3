"""Three schedulers that are killed at every step make each due time one job."""

import itertools
import os
import random
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parent))
from processes import ROOT, Worker, until

from scheduling.names import tick_key
from workers.store import tables
from workers.store.engine import create_store_engine
from workers.store.migrate import migrate

SITE = Path(__file__).parent / "ticks_site"
WHOLE = bool(os.environ.get("PROOF"))
TICKS, KILLS, SPEED = (10_000, 60, 2400) if WHOLE else (40, 3, 600)
SEED = int(os.environ.get("SEED") or time.time())


@pytest.fixture
def environment(rabbitmq, tmp_path):
    (tmp_path / "ledger").touch()
    return {
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
        "DUTIFUL_LOGS__SUCCESS_LINES": "false",
        "LEDGER": str(tmp_path / "ledger"),
    }


@pytest.fixture
def store(environment):
    engine = create_store_engine(environment["DUTIFUL_STORE__URL"])
    migrate(engine, package=None)
    yield engine
    engine.dispose()


@pytest.fixture
def hasten(environment, tmp_path):
    """Start a scheduler of the fast clock; it ends with the test."""
    running, began = [], str(time.time())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DUTIFUL_", "SITE_"))}

    def start(*step):
        command = [sys.executable, str(SITE / "hasty.py"), str(SPEED), began, *map(str, step)]
        with (tmp_path / "schedulers.log").open("ab") as log:
            made = subprocess.Popen(
                command, env=kept | environment | {"PYTHONPATH": f"{SITE}:{ROOT}"}, stdout=log, stderr=log
            )
        running.append(made)
        return made

    yield start
    for each in running:
        each.kill()
        each.wait()


def recorded(store):
    with store.connect() as connection:
        return connection.execute(select(tables.ticks).order_by(tables.ticks.c.due_at)).all()


@pytest.mark.timeout(3600 if WHOLE else 600)
def test_each_due_time_is_one_job_though_schedulers_are_killed_at_every_step(hasten, store, environment, tmp_path):
    print(f"SEED={SEED}")  # noqa: T201  to run the same again
    draw = random.Random(SEED)
    steps = itertools.cycle(["recorded", "published", "marked"])
    worker = Worker(SITE, environment, tmp_path, "-p", "1", "-t", "4", module="sweeping")
    worker.wait_until_ready()
    try:
        schedulers = [hasten(next(steps), draw.randint(1, 5)) for _ in range(3)]
        killed = 0
        while killed < KILLS or len(recorded(store)) < TICKS:
            for n, each in enumerate(schedulers):
                if each.poll() is not None:
                    assert each.returncode == -9, (tmp_path / "schedulers.log").read_text()
                    killed += 1
                    schedulers[n] = hasten(next(steps), draw.randint(1, max(2, TICKS // KILLS // 4)))
                elif draw.random() < 0.002:  # at any moment, too
                    each.kill()
            time.sleep(0.05)
        hasten("none")
        time_is_over = recorded(store)[-1].due_at
        for each in schedulers:
            each.kill()

        def done():
            return {row.outcome for row in recorded(store) if row.due_at <= time_is_over} == {"succeeded"}

        until(done, 1200 if WHOLE else 60, what=f"ticks wait: {worker.text()[-2000:]}", pause=0.5)
    finally:
        worker.stop()
        worker.kill()

    rows = [row for row in recorded(store) if row.due_at <= time_is_over]
    minutes = int((rows[-1].due_at - rows[0].due_at) / timedelta(minutes=1)) + 1
    expected = [tick_key("sweep", rows[0].due_at + timedelta(minutes=n)) for n in range(minutes)]
    assert [row.key for row in rows] == expected
    ledger = [line for line in Path(environment["LEDGER"]).read_text().split() if line <= expected[-1]]
    assert sorted(ledger) == expected
    assert len(rows) >= TICKS
    print(f"{len(rows)} ticks, each one job; {killed} schedulers killed")  # noqa: T201
