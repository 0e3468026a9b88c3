"""The local stack keeps services running, and leaves nothing behind, however it ends."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import httpx
import pika
import psycopg
import pytest

from deploy.local import Stack, StackError, compose, control, processes, screen
from deploy.local.folders import COMPOSE_FILE
from deploy.setup import passwords

SERVICES = """
services:
  steady:
    image: dutiful:1
    command: [python, -c, "import time; print('up', flush=True); time.sleep(600)"]
    restart: unless-stopped
    stop_grace_period: 5s
  family:
    image: dutiful:1
    command: [python, -c, "{family}"]
    restart: unless-stopped
    stop_grace_period: 5s
"""
# A parent with one child in its group, and one that left the group as a daemon does.
FAMILY = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)
signal.signal(signal.SIGTERM, lambda *_: print('child', child.poll(), flush=True) or os._exit(0))
print('up', flush=True)
time.sleep(600)
"""


@pytest.fixture
def compose_file(tmp_path):
    path = tmp_path / "docker-compose.yml"
    escaped = FAMILY.strip().replace("\n", "\\n")
    path.write_text(SERVICES.replace("{family}", escaped))
    return path


@pytest.fixture
def small(tmp_path, compose_file):
    """Start stacks of small programs; whatever a test does to them, they are gone afterwards."""
    started = []

    def start(name="run", **options):
        stack = Stack(tmp_path / name)
        started.append(stack)
        return Stack.start(stack.run_folder, compose_file=compose_file, **options)

    yield start
    for stack in started:
        stack.stop(remove=True)


def until(condition, seconds=20.0):
    """Wait for something to become true; the test fails when it doesn't."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def members(stack):
    return processes.marked(f"{stack.run_folder}#")


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_killed_service_comes_back(small):
    stack = small(services=["steady"])
    before = stack.pid("steady")
    assert stack.kill("steady") == before
    until(lambda: stack.status()["steady"]["restarts"] == 1 and stack.status()["steady"]["state"] == "running")
    assert stack.pid("steady") != before
    assert stack.status()["steady"]["exit_code"] == -signal.SIGKILL


def test_one_child_of_a_service_can_be_killed(small):
    stack = small(services=["family"])
    until(lambda: len(stack.children("family")) == 2)
    main, victim = stack.pid("family"), stack.children("family")[1]
    assert stack.kill("family", child=1) == victim
    until(lambda: victim not in stack.children("family"))
    assert stack.pid("family") == main
    with pytest.raises(StackError, match="no child number 7"):
        stack.kill("family", child=7)


def test_what_a_killed_service_leaves_is_cleared_away_before_it_comes_back(small):
    stack = small(services=["family"])
    until(lambda: len(stack.children("family")) == 2)
    left = [processes.Identity.of(pid) for pid in stack.children("family")]
    os.kill(stack.pid("family"), signal.SIGKILL)
    until(lambda: stack.status()["family"]["restarts"] == 1)
    assert not [each for each in left if each.is_alive()]


def test_only_the_main_process_is_asked_to_stop(small):
    stack = small(services=["family"])
    until(lambda: "up" in stack.logs("family"))
    stack.stop_service("family")
    assert "child None" in stack.logs("family")  # its child still ran when it was asked
    assert stack.status()["family"]["exit_code"] == 0


def test_a_stopped_service_stays_stopped_until_it_is_started(small):
    stack = small(services=["steady"])
    stack.stop_service("steady")
    assert stack.status()["steady"] | {"restarts": 0} == stack.status()["steady"] | {"state": "stopped", "pid": None}
    stack.start_service("steady")
    until(lambda: stack.status()["steady"]["state"] == "running")


def test_a_service_that_does_not_stop_is_killed_after_its_grace_period(small):
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    changes = {"steady": {"command": ["python", "-c", deaf], "stop_grace_period": "300ms"}}
    stack = small(services=["steady"], overrides=changes)
    until(lambda: "up" in stack.logs("steady"))
    began = time.monotonic()
    stack.stop_service("steady")
    assert 0.3 <= time.monotonic() - began < 5
    assert stack.status()["steady"]["exit_code"] == -signal.SIGKILL


@pytest.mark.parametrize(("policy", "restarts"), [("no", 0), ("on-failure:2", 2)])
def test_a_failing_service_is_restarted_as_often_as_its_policy_says(small, policy, restarts):
    changes = {"steady": {"command": ["python", "-c", "raise SystemExit(3)"], "restart": policy}}
    stack = small(services=["steady"], overrides=changes, wait=False)
    until(lambda: stack.status()["steady"]["state"] == "exited")
    assert stack.status()["steady"]["restarts"] == restarts
    assert stack.status()["steady"]["exit_code"] == 3


def test_a_service_that_never_becomes_healthy_shows_the_end_of_its_log(small):
    changes = {
        "steady": {
            "command": ["python", "-c", "import time; print('the reason why', flush=True); time.sleep(600)"],
            "healthcheck": {"test": ["CMD", "false"], "interval": "100ms", "retries": 2},
        }
    }
    with pytest.raises(StackError, match="the reason why") as refusal:
        small(services=["steady"], overrides=changes)
    assert "unhealthy" in refusal.value.received


def test_a_service_whose_dependency_failed_does_not_start_and_says_so(small):
    changes = {
        "steady": {"command": ["python", "-c", "raise SystemExit(1)"], "restart": "no"},
        "family": {"depends_on": {"steady": {"condition": "service_completed_successfully"}}},
    }
    stack = small(overrides=changes, wait=False)
    until(lambda: stack.status()["family"]["state"] == "failed")
    assert "steady" in stack.status()["family"]["reason"]


def test_what_prepares_the_others_is_shown_once_it_has_ended(small, capsys):
    changes = {
        "steady": {"command": ["python", "-c", "print('found nothing wrong')"], "restart": "no"},
        "family": {"depends_on": {"steady": {"condition": "service_completed_successfully"}}},
    }
    stack = small(overrides=changes)
    screen.preparations(stack, {})
    assert capsys.readouterr().out.strip() == "steady       | found nothing wrong"
    screen.preparations(stack, screen.sizes(stack))
    assert not capsys.readouterr().out.strip(), "an earlier start said it"


def test_a_doctor_who_finds_something_wrong_lets_no_worker_start(stack, rabbitmq, postgres, management):
    there, pages = urlsplit(rabbitmq), management.base_url
    page = f"http://{there.username}:{there.password}@{pages.host}:{pages.port}"
    servers = {"DUTIFUL_RABBITMQ__URL": rabbitmq, "DUTIFUL_STORE__URL": postgres}
    alone = {"environment": servers, "depends_on": {}}
    short = {"DUTIFUL_RABBITMQ__MANAGEMENT_URL": page, "DUTIFUL_STORE__KEY_TTL_SECONDS": "3600"}
    changes = {"migrate": alone, "queues": alone, "doctor": {"environment": servers | short}}
    with pytest.raises(StackError) as refusal:
        stack(services=["worker"], overrides=changes | {"worker": {"environment": servers}})
    said = str(refusal.value)
    assert "doctor did not start" in said
    assert "mend: export DUTIFUL_STORE__KEY_TTL_SECONDS=90000" in said
    assert re.search(r"\d+ OK, 1 wrong, \d unknown", said)


def test_stopping_leaves_no_process(small):
    stack = small()
    until(lambda: len(members(stack)) >= 4)
    stack.stop()
    assert members(stack) == []
    assert not stack.is_running


@pytest.mark.parametrize("victim", ["supervisor", "guardian"])
def test_killing_those_who_watch_leaves_no_process(small, victim):
    stack = small()
    until(lambda: len(members(stack)) >= 4)
    os.kill(control.record(stack._folders)[victim]["pid"], signal.SIGKILL)
    until(lambda: members(stack) == [])
    assert not stack.is_running


def test_what_a_wholly_killed_stack_left_is_cleared_away_by_the_next_start(small):
    stack = small()
    until(lambda: len(members(stack)) >= 4)
    record = control.record(stack._folders)
    os.kill(record["guardian"]["pid"], signal.SIGSTOP)  # so that it can't clear away
    os.kill(record["supervisor"]["pid"], signal.SIGKILL)
    os.kill(record["guardian"]["pid"], signal.SIGKILL)
    until(lambda: not stack.is_running)
    left = [processes.Identity.of(pid) for pid in members(stack)]
    assert left
    small(services=["steady"])
    assert not [each for each in left if each.is_alive()]


def test_a_number_that_another_process_has_now_is_not_taken_for_the_stack(small):
    stack = small(services=["steady"])
    stack.stop()
    record = control.record(stack._folders)
    record["guardian"]["pid"] = os.getpid()
    stack._folders.record.write_text(json.dumps(record))
    assert not stack.is_running
    with pytest.raises(StackError, match="does not answer"):
        stack.status()


def test_an_attached_stack_ends_with_the_process_that_started_it(tmp_path, compose_file):
    program = (
        "import os, signal, sys; from pathlib import Path; from deploy.local import Stack\n"
        "Stack.start(sys.argv[1], compose_file=Path(sys.argv[2])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    stack = Stack(tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", program, stack.run_folder, compose_file], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (stack.run_folder / "stack.json").exists()
    until(lambda: members(stack) == [])
    stack.stop(remove=True)


def test_ports_stay_the_same_from_one_start_to_the_next(small):
    ports = {"steady": {"expose": ["8000", "8001"]}}
    stack = small(services=["steady"], overrides=ports)
    before = stack.port("steady", 8000), stack.port("steady", 8001)
    stack.stop()
    small(services=["steady"], overrides=ports)
    assert (stack.port("steady", 8000), stack.port("steady", 8001)) == before


def test_two_stacks_at_once_do_not_meet(stack):
    first, second = stack(services=["postgres"]), stack(services=["postgres"])
    urls = [each.environment["DUTIFUL_STORE__URL"].replace("+psycopg", "") for each in (first, second)]
    with psycopg.connect(urls[0]) as one, psycopg.connect(urls[1]) as other:
        one.execute("CREATE TABLE only_here (x int)")
        one.commit()
        assert other.execute("SELECT to_regclass('only_here')").fetchone() == (None,)
    first.stop()
    with psycopg.connect(urls[1]):
        pass


@pytest.mark.long
def test_the_servers_start_answer_come_back_after_kill_9_and_leave_nothing(stack):
    running = stack(services=["rabbitmq", "postgres", "prometheus"])
    ports = [running.port("rabbitmq", port) for port in (5672, 15672, 15692, 4369, 25672)]
    ports += [running.port("postgres", 5432), running.port("prometheus", 9090)]
    assert all(listens(port) for port in ports)
    for service in ("rabbitmq", "postgres"):
        before = running.pid(service)
        running.kill(service)
        running.wait_healthy(service)
        assert running.pid(service) != before
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(running.administrator))):
        pass
    targets = httpx.get(running.url("prometheus", 9090) + "/api/v1/targets").json()["data"]["activeTargets"]
    scraped = {target["labels"]["job"]: target["scrapeUrl"] for target in targets}
    assert scraped["rabbitmq"] == running.url("rabbitmq", 15692) + "/metrics"
    running.stop()
    assert members(running) == []
    assert not any(listens(port) for port in ports)


def test_each_test_has_a_vhost_of_its_own(rabbitmq, management):
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(rabbitmq))) as connection:
        connection.channel().queue_declare("jobs", durable=True, arguments={"x-queue-type": "quorum"})
    names = {vhost["name"] for vhost in management.get("/api/vhosts").json()}
    assert rabbitmq.rpartition("/")[2] in names


def test_each_test_has_a_database_of_its_own(postgres):
    with psycopg.connect(postgres.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_the_command_line_says_what_runs_and_what_is_wrong(tmp_path):
    def command(*words):
        return subprocess.run(
            [sys.executable, "-m", "deploy.local", "--run-dir", tmp_path / "none", *words],
            capture_output=True,
            text=True,
            check=False,
        )

    assert command("status").returncode == 1
    assert "No stack runs" in command("status").stdout
    refused = command("kill", "worker")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: the local stack does not answer; expected one that runs")


OUTER = ("worker", "scheduler", "scheduler-2", "gateway", "prometheus", "alertmanager")


def health_of(stack, names):
    return {name: each["health"] for name, each in stack.status().items() if name in names}


@pytest.mark.long
def test_the_health_check_of_a_service_that_stands_still_turns_red_and_green_again_when_it_goes_on(
    stack, rabbitmq, postgres
):
    """As `docker pause` does it: every process of the service stands still."""
    declared = compose.read(COMPOSE_FILE, own=dict.fromkeys(passwords.needed(COMPOSE_FILE), "x"))
    servers = {"DUTIFUL_RABBITMQ__URL": rabbitmq, "DUTIFUL_STORE__URL": postgres}
    changes = {name: {"healthcheck": impatient(service)} for name, service in declared.items() if service.healthcheck}
    for name in ("migrate", "worker", "scheduler", "scheduler-2", "gateway"):
        needs = {} if name == "migrate" else {"migrate": {"condition": "service_completed_successfully"}}
        changes.setdefault(name, {}).update(environment=servers, depends_on=needs)
    running = stack(services=[*changes], overrides=changes)
    for names in (OUTER, ("rabbitmq", "postgres")):
        frozen = [pid for name in names for pid in processes.marked(f"{running.run_folder}#{name}")]
        try:
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            until(lambda names=names: set(health_of(running, names).values()) == {"unhealthy"}, 30)
        finally:
            for pid in frozen:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        until(lambda names=names: set(health_of(running, names).values()) == {"healthy"}, 60)


def impatient(service):
    """The check of the compose file, more often and with less patience."""
    test = ["CMD", *service.healthcheck.test]
    return {"test": test, "interval": "500ms", "timeout": "3s", "retries": 2, "start_period": "60s"}
