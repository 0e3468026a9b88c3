"""`dutiful status` on real servers: fine with a worker, down without one, and quick where nothing answers."""

import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import ROOT, Queue, Worker, envelope, until

from tests.commands import dutiful
from workers.store.engine import create_store_engine
from workers.store.recent import recent

SITE = Path(__file__).parent / "signals_site"


@pytest.fixture
def environment(rabbitmq, tmp_path):
    return {"DUTIFUL_RABBITMQ__URL": rabbitmq, "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db"}


def status(environment, *options):
    """Exit status, what was written, and how long it took."""
    began = time.monotonic()
    told = environment | {"PYTHONPATH": f"{SITE}:{ROOT}", "PATH": "/usr/bin:/bin"}
    done = dutiful("status", "signals", *options, environment=told)
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


def test_status_tells_of_a_worker_of_its_jobs_and_of_what_has_changed(environment, rabbitmq, tmp_path):
    worker = Worker(SITE, environment, tmp_path, "-p", "1", "-t", "2", module="signals")
    try:
        worker.wait_until_ready()
        before = tmp_path / "before.json"
        until(lambda: (found := status(environment, "--json"))[0] == 0 and before.write_text(found[1]), what="not fine")
        assert [each["verdict"] for each in json.loads(before.read_text())["answers"]] == ["fine"] * 4

        Queue(rabbitmq, "signals").publish(
            envelope("dies", queue="signals"), envelope("succeeds", queue="signals", n=1)
        )
        store = create_store_engine(environment["DUTIFUL_STORE__URL"])
        until(lambda: (recent(store).dead, recent(store).ended) == (1, 2))
        store.dispose()
        code, said, _ = until(  # on a machine that is very busy, RabbitMQ may not answer within its second
            lambda: (found := status(environment, "--compare", str(before)))[0] != 2 and found, what="it stays down"
        )
    finally:
        worker.kill()

    assert code == 1, said
    assert "1 of 2 jobs died in the last hour (50.0%)" in said
    assert [line.split() for line in said.splitlines() if line.strip().startswith("signals dead")] == [
        ["signals", "dead", "0", "1"]
    ]


def test_where_nothing_answers_status_says_down_and_does_not_wait(environment):
    environment["DUTIFUL_RABBITMQ__URL"] = "amqp://guest:guest@192.0.2.1:5672/nowhere"  # an address that never answers

    code, said, seconds = status(environment)

    assert code == 2
    assert "RabbitMQ: no answer in 1 s" in said
    assert "expected a migrated store" in said
    assert seconds < 10, "it waits for nobody for longer than a second; the rest is this machine's load"
