"""Three schedulers whose clock is set, whose store and whose broker go away make each due time one job."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
sys.path.insert(0, str(Path(__file__).parent))
from processes import ROOT, Worker, unset, until
from proxy import Proxy

from scheduling.names import tick_key
from workers.store import tables
from workers.store.engine import create_store_engine
from workers.store.migrate import migrate

SITE = Path(__file__).parent / "ticks_site"
SPEED = 600  # seconds of the schedulers' clock in one; a tick is due each minute
HOUR = 3600
AWAY_SECONDS = 30 if os.environ.get("PROOF") else 2


@pytest.fixture
def door(rabbitmq):
    address = urlsplit(rabbitmq)
    with Proxy(address.hostname, address.port) as made:
        yield made


@pytest.fixture
def server(stack):
    """A PostgreSQL that this test alone uses."""
    return stack(services=["postgres"])


@pytest.fixture
def environment(rabbitmq, door, server, tmp_path):
    (tmp_path / "ledger").touch()
    return {
        "DUTIFUL_RABBITMQ__URL": rabbitmq.replace(f":{urlsplit(rabbitmq).port}/", f":{door.port}/"),
        "DUTIFUL_RABBITMQ__PUBLISH_TIMEOUT_SECONDS": "2",
        "DUTIFUL_STORE__URL": server.environment["DUTIFUL_STORE__URL"],
        "DUTIFUL_LOGS__SUCCESS_LINES": "false",
        "LEDGER": str(tmp_path / "ledger"),
        "CLOCK": str(tmp_path / "clock"),
    }


@pytest.fixture
def set_clock(environment):
    """Set the schedulers' clock: by so many seconds from what it would show."""

    def change(seconds):
        unfinished = Path(f"{environment['CLOCK']}.new")
        unfinished.write_text(str(seconds))
        unfinished.replace(environment["CLOCK"])

    change(0)
    return change


@pytest.fixture
def store(environment):
    engine = create_store_engine(environment["DUTIFUL_STORE__URL"])
    migrate(engine, package=None)
    yield engine
    engine.dispose()


@pytest.fixture
def site(environment, store, set_clock, tmp_path):
    """A worker and three schedulers of the fast clock."""
    worker = Worker(SITE, environment, tmp_path, "-p", "1", "-t", "4", module="sweeping")
    worker.wait_until_ready()
    command = [sys.executable, str(SITE / "hasty.py"), str(SPEED), str(time.time()), "none"]
    with (tmp_path / "schedulers.log").open("ab") as log:
        shell = unset() | environment | {"PYTHONPATH": f"{SITE}:{ROOT}"}
        schedulers = [subprocess.Popen(command, env=shell, stdout=log, stderr=log) for _ in range(3)]
    yield worker, schedulers
    for each in schedulers:
        each.kill()
        each.wait()
    worker.kill()


def recorded(store):
    with store.connect() as connection:
        return connection.execute(select(tables.ticks).order_by(tables.ticks.c.due_at)).all()


def more(store, count):
    """Until so many more ticks are recorded: how many there are then."""
    there = len(recorded(store))
    until(lambda: len(recorded(store)) >= there + count, 60, what=f"not {count} more than {there} ticks")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_each_due_time_is_one_job_though_the_clock_is_set_and_store_and_broker_go_away(
    *, site, store, environment, set_clock, door, server
):
    worker, schedulers = site
    more(store, 10)

    set_clock(HOUR)
    more(store, 70)  # the hour that nobody saw, and more
    set_clock(0)
    last = recorded(store)[-1].due_at
    until(lambda: recorded(store)[-1].due_at > last + timedelta(minutes=10), 60, what="time did not go on")

    server.stop_service("postgres")
    time.sleep(AWAY_SECONDS)  # nothing is to be seen meanwhile
    assert [each.poll() for each in schedulers] == [None] * 3, "they wait for the store"
    server.start_service("postgres")
    server.wait_healthy("postgres")
    store.dispose()
    more(store, 5 * AWAY_SECONDS)

    door.refuse()
    more(store, 5 * AWAY_SECONDS)  # recorded, though nobody can publish them
    door.admit()
    more(store, 10)

    time_is_over = recorded(store)[-1].due_at
    for each in schedulers[1:]:
        each.kill()

    def done():
        return {row.outcome for row in recorded(store) if row.due_at <= time_is_over} == {"succeeded"}

    until(done, 60, what=f"ticks wait: {worker.text()[-2000:]}", pause=0.5)
    rows = [row for row in recorded(store) if row.due_at <= time_is_over]
    minutes = int((rows[-1].due_at - rows[0].due_at) / timedelta(minutes=1)) + 1
    expected = [tick_key("sweep", rows[0].due_at + timedelta(minutes=n)) for n in range(minutes)]
    assert [row.key for row in rows] == expected
    ledger = [line for line in Path(environment["LEDGER"]).read_text().split() if line <= expected[-1]]
    assert sorted(ledger) == expected
    print(f"{len(rows)} ticks, each one job")  # noqa: T201
