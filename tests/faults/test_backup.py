"""docs/running.md's backups are made and restored as they are written, and mean for keys what the page says."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ledger import Bank
from node import PROGRAMS, rabbitmqctl, running
from processes import ROOT, unset, until
from sqlalchemy import make_url

from deploy.setup import servers

PAGE = (ROOT / "docs/running.md").read_text()
PARTS = {
    title: dict(re.findall(r"^```sh title=(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    for title, text in re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
DATABASES = ("SQLite", "PostgreSQL")


def do(part, step, folder, **environment):
    """Run one of the page's blocks in a folder."""
    found = [Path(sys.executable).parent, PROGRAMS, servers.POSTGRES.find().parent, os.environ["PATH"]]
    path = os.pathsep.join(map(str, found))
    done = subprocess.run(
        ["sh", "-ec", PARTS[part][step]],
        cwd=folder, env=unset() | environment | {"PATH": path}, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def did(worker, count):
    """Wait until a worker has ended so many jobs: which ran, and which had run before."""

    def ended(event):
        return sorted(f"{each['actor']} {each.get('key')}" for each in worker.events(event))

    def found():
        both = ended("job_succeeded"), ended("job_duplicate")
        return both if sum(map(len, both)) >= count else None

    return until(found, what=f"{count} jobs have not ended: {worker.text()}")


def stop(worker):
    assert worker.stop()[0] == 0, worker.text()


def test_every_part_of_the_page_is_tried_here():
    assert PARTS.keys() == {*DATABASES, "RabbitMQ's definitions", "RabbitMQ's messages"}
    assert all(steps.keys() == {"backup", "restore"} for steps in PARTS.values())


@pytest.fixture
def site(request, rabbitmq, tmp_path):
    """A site with its store in either database: the bank, the database's name on the page, and its variables."""
    if request.param == "SQLite":
        store, variables = f"sqlite:///{tmp_path}/dutiful.db", {}
    else:
        store = request.getfixturevalue("postgres")
        at = make_url(store)
        variables = {
            "PGHOST": at.host,
            "PGPORT": str(at.port),
            "PGUSER": at.username,
            "PGPASSWORD": at.password,
            "PGDATABASE": at.database,
        }
    bank = Bank(rabbitmq, store, tmp_path)
    yield bank, request.param, variables
    bank.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("site", DATABASES, indirect=True)
def test_a_job_that_was_done_before_the_store_s_backup_does_not_run_again_and_one_done_after_it_does(site, tmp_path):
    bank, database, variables = site
    worker = bank.start()
    bank.publish([("safe", 1), ("noted", 1)])
    did(worker, 2)
    do(database, "backup", tmp_path, **variables)  # while the worker works
    bank.publish([("safe", 2), ("noted", 2)])
    assert did(worker, 4) == (["noted 1", "noted 2", "safe 1", "safe 2"], [])
    stop(worker)

    bank.engine.dispose()
    do(database, "restore", tmp_path, **variables)
    worker = bank.start()  # it does not take the store for another one
    bank.publish([(job, n) for job in ("safe", "noted") for n in (1, 2)])

    assert did(worker, 4) == (["noted 2", "safe 2"], ["noted 1", "safe 1"])
    stop(worker)
    assert bank.rows("SELECT n, count(*) FROM effects GROUP BY n ORDER BY n") == [(1, 1), (2, 1)], (
        "it went and came back"
    )
    assert [line[:2] for line in bank.lines()].count(["noted", "2"]) == 2, "an effect elsewhere happened twice"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_older_rabbitmq_brings_jobs_again_that_have_run_and_keys_hold_them_up(tmp_path):
    with running(tmp_path / "nodes", ["kept"]) as [node]:
        bank = Bank(node.url, f"sqlite:///{tmp_path}/store.db", tmp_path)
        variables = node.environment | {"RABBITMQ_DATA": str(node.folder / "data")}
        try:
            worker = bank.start()
            bank.publish([("safe", 1)])
            did(worker, 1)
            stop(worker)
            bank.publish([("safe", 2), ("keyless", 2)])  # they wait when the backup is made
            do("RabbitMQ's definitions", "backup", tmp_path, **variables)
            assert '"dutiful.store"' in (tmp_path / "definitions.json").read_text(), "the vhost's note of its store"
            threading.Thread(target=node.process.wait).start()  # else it stays a zombie, and the command waits for it
            do("RabbitMQ's messages", "backup", tmp_path, **variables)
            node.start()
            worker = bank.start()
            bank.publish([("safe", 3)])
            assert did(worker, 3) == (["keyless None", "safe 2", "safe 3"], [])
            stop(worker)
            bank.publish([("safe", 4)])

            node.kill()
            do("RabbitMQ's messages", "restore", tmp_path, **variables)
            node.start()
            assert bank.queue.count() == 1, "what waited when the backup was made, and not what was published since"
            worker = bank.start()
            bank.publish([("safe", 3), ("safe", 4)])  # by their senders, who can't know
            assert did(worker, 4) == (["keyless None", "safe 4"], ["safe 2", "safe 3"])
            stop(worker)

            empty(node)
            assert not bank.queue.exists()
            do("RabbitMQ's definitions", "restore", tmp_path, **variables)
            assert bank.queue.exists()
            worker = bank.start()
            bank.publish([("safe", 1), ("safe", 5)])
            assert did(worker, 2) == (["safe 5"], ["safe 1"])
        finally:
            bank.close()


def empty(node):
    """Let a node forget everything."""
    for command in ("stop_app", "force_reset", "start_app"):
        rabbitmqctl(node, command)
