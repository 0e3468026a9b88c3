"""A release is rehearsed on real servers: it costs nothing, a bad one is refused, a killed one leaves nothing.

Short form: 40 jobs a second, on servers that are there already. `PROOF=1` is what `make rehearse` does.
"""

import json
import os
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from processes import until

from deploy.local import Stack, processes
from deploy.local.folders import CHECKOUT
from deploy.rehearsal.options import Options
from deploy.rehearsal.run import Rehearsal
from workers.users import ROLES, user

PROOF = bool(os.environ.get("PROOF"))
SIZE = Options() if PROOF else Options(rate=40, seconds=0)
KILLED = """
import json, sys
from pathlib import Path
from deploy.rehearsal.options import Options
from deploy.rehearsal.run import Rehearsal
Rehearsal(Path(sys.argv[1]), Options(seconds=300), lambda line: print(line, flush=True), json.loads(sys.argv[2])).run()
"""


@pytest.fixture
def changes(rabbitmq, postgres, management):
    """Services that use a vhost, its users, and a database of this test's own."""
    there, pages = urlsplit(rabbitmq), management.base_url
    vhost, password = there.path.removeprefix("/"), "rehearsed"
    as_worker = f"amqp://{user(vhost, 'worker')}:{password}@{there.hostname}:{there.port}/{vhost}"
    environment = {"DUTIFUL_RABBITMQ__URL": as_worker, "DUTIFUL_STORE__URL": postgres}
    administrator = {
        "DUTIFUL_RABBITMQ__MANAGEMENT_URL": f"http://{there.username}:{there.password}@{pages.host}:{pages.port}",
        "DUTIFUL_USERS__WORKER_PASSWORD": password,
    }
    alone = {"environment": environment, "depends_on": {}}
    yield {
        "migrate": alone,
        "broker-setup": alone | {"environment": environment | administrator},
        "doctor": {"environment": environment | administrator},
        "operator": {"environment": environment | {"DUTIFUL_RABBITMQ__URL": rabbitmq}},
        **{name: {"environment": environment} for name in ("queues", "worker", "scheduler")},
    }
    for role in ROLES:
        management.delete(f"/api/users/{user(vhost, role)}")


def broken(report):
    return [check.what for check in report.checks if not check.holds]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_release_is_deployed_upgraded_and_rolled_back_under_load_and_costs_nothing(changes, tmp_path):
    report = Rehearsal(tmp_path, SIZE, print, changes).run()

    assert report.passed, "\n".join(report.lines())
    assert report.load["published"] > 50
    assert {each["verdict"] for each in report.status.values()} == {"fine"}
    changed = {each["number"]: each["now"] for each in report.status["after the upgrade"]["changes"]}
    assert changed["rehearsal-next consumers"] > 0
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["passed"]
    assert written["verdict"] in (tmp_path / "report.txt").read_text()
    assert not Stack(tmp_path / "stack").is_running


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_release_whose_migration_breaks_is_refused_and_the_one_before_goes_on(changes, tmp_path):
    report = Rehearsal(tmp_path, Options(rate=40, seconds=0, sabotage="broken"), print, changes).run()

    assert not report.passed
    assert "migrate of the next release did not start" in report.verdict
    assert "never_there" in report.verdict
    assert any(step.name == "the release of now goes on" for step in report.steps)
    assert broken(report) == ["jobs were interrupted, and ran again"], "no worker was touched, so all else holds"
    assert "release now" in report.checks[-1].expected


@pytest.mark.timeout(600)
def test_a_rehearsal_that_is_killed_leaves_nothing_running(changes, tmp_path):
    log, folder = tmp_path / "log", tmp_path / "stack"
    with log.open("w") as output:
        command = [sys.executable, "-c", KILLED, str(tmp_path), json.dumps(changes)]
        rehearsal = subprocess.Popen(command, cwd=CHECKOUT, stdout=output, stderr=output)
    try:
        until(lambda: "stack started" in log.read_text(), 60, what="the stack did not start")
        stack = Stack(folder)
        assert len(processes.marked(f"{stack.run_folder}#")) > 4
    finally:
        rehearsal.send_signal(signal.SIGKILL)
        rehearsal.wait()
    until(lambda: not processes.marked(f"{stack.run_folder}#"), 60, what="something was left")
    assert not stack.is_running
    stack.stop(remove=True)
