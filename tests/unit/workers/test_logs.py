"""What a real worker process writes: JSON a line, the job's fields, and never an argument."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from workers.logs import Lines

DRAMATIQ = Path(sys.executable).with_name("dramatiq")
SECRET = "4111-1111-1111-1111"
# The broker is in memory, so the jobs are sent by the worker process itself, once it has booted.
SITE = f"""
import logging
import time
from datetime import timedelta
import dramatiq
from sqlalchemy import text
from workers import PermanentFailure, RetryLater, actor, current_job
from workers.broker import setup_broker

broker = setup_broker()
CARD = dict(queue_name="shop", owner="tests", expects="a line", rollback="none")

@actor(**CARD)
def good(card: str) -> None:
    logging.getLogger("shop").info("charged %s", "a card")

@actor(**CARD, key="order-{{number}}")
def keyed(card: str, number: int) -> None: ...

@actor(**CARD, max_retries=0)
def failing(card: str) -> None:
    raise RuntimeError("the shop is closed")

@actor(**CARD)
def hopeless(card: str) -> None:
    raise PermanentFailure("never")

@actor(**CARD)
def later(card: str) -> None:
    raise RetryLater("not yet", delay=timedelta(hours=1))

@actor(**CARD, max_retries=0)
def query(card: str) -> None:
    with current_job().transaction() as connection:
        connection.execute(text("SELECT :card FROM nowhere"), {{"card": card}})

@actor(**CARD, max_retries=0, time_limit=timedelta(seconds=1))
def endless(card: str) -> None:
    while True:
        time.sleep(0.01)

@dramatiq.actor(queue_name="shop", max_retries=0)
def plain(card):
    raise RuntimeError("the shop is closed")

class Send(dramatiq.Middleware):
    def after_worker_boot(self, broker, worker):
        for each in (good, failing, hopeless, later, query, endless, plain):
            each.send("{SECRET}")
        keyed.send("{SECRET}", number=7)
        keyed.send("{SECRET}", number=7)
        wrong = good.message("x").copy(kwargs={{"card": ["{SECRET}"], "tip": "{SECRET}"}})
        broker.enqueue(wrong)

broker.add_middleware(Send())
"""


@pytest.fixture
def run(tmp_path):
    """Run the site's jobs in a worker process until all have ended: what it wrote, line by line."""

    def start(**more):
        (tmp_path / "site_of_logs.py").write_text(SITE)
        log = tmp_path / "log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DUTIFUL_")}
        environment = kept | {
            "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}",
            "DUTIFUL_RABBITMQ__URL": "memory://",
            "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
            "DUTIFUL_METRICS__PORT": "0",
        }
        with log.open("wb") as output:
            command = [str(DRAMATIQ), "site_of_logs", "-p", "1", "-t", "2"]
            process = subprocess.Popen(command, env=environment | more, cwd=tmp_path, stdout=output, stderr=output)
        try:
            # The job that runs into its time limit ends last.
            until(lambda: "TimeLimitExceeded" in log.read_text() and "plain" in log.read_text(), log)
        finally:
            process.terminate()
            process.wait(timeout=30)
        return log.read_text().splitlines()

    return start


def of_jobs(lines):
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [each for each in found if each["event"].startswith("job_")]


def test_every_line_of_a_worker_is_json_with_its_level_time_and_environment(run):
    lines = run()

    first = next(number for number, line in enumerate(lines) if line.startswith("{"))
    ours = [line for line in lines[first:] if "MainProcess" not in line and "ForkProcess" not in line]
    for line in ours:
        entry = json.loads(line)
        assert entry["event"]
        assert entry["level"] in {"debug", "info", "warning", "error", "critical"}
        assert datetime.fromisoformat(entry["timestamp"]).utcoffset().total_seconds() == 0
        assert entry["environment"] == "development"

    for entry in of_jobs(lines):
        assert {"message_id", "actor", "queue", "attempt", "duration_ms"} <= set(entry), entry
        assert entry["queue"] == "shop"
        assert entry["duration_ms"] >= 0
    ends = sorted((entry["actor"], entry["event"]) for entry in of_jobs(lines))
    assert ends == [
        ("endless", "job_dead"),
        ("failing", "job_dead"),
        ("good", "job_dead"),
        ("good", "job_succeeded"),
        ("hopeless", "job_dead"),
        ("keyed", "job_duplicate"),
        ("keyed", "job_succeeded"),
        ("later", "job_retried"),
        ("plain", "job_dead"),
        ("query", "job_dead"),
    ]
    assert {entry["key"] for entry in of_jobs(lines) if entry["actor"] == "keyed"} == {"order-7"}
    reasons = {entry["actor"]: entry["reason"] for entry in of_jobs(lines) if entry["event"] == "job_dead"}
    assert reasons["good"] == "contract"
    assert reasons["hopeless"] == "permanent"
    assert reasons["endless"] == "time_limit"

    (said,) = [entry for entry in map(json.loads, ours) if entry["event"] == "charged a card"]
    (good,) = [entry for entry in of_jobs(lines) if entry["event"] == "job_succeeded" and entry["actor"] == "good"]
    assert said["message_id"] == good["message_id"], "what a job writes carries the job's fields"
    assert said["actor"] == "good"


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
@pytest.mark.parametrize("form", ["json", "console"])
def test_arguments_are_never_written(run, level, form):
    lines = run(DUTIFUL_LOGS__LEVEL=level, DUTIFUL_LOGS__FORMAT=form)

    assert [line for line in lines if SECRET in line] == []
    assert any("the shop is closed" in line for line in lines), "though the failures are"


def test_the_console_form_is_for_people(run):
    lines = run(DUTIFUL_LOGS__FORMAT="console")

    assert not any(line.startswith("{") for line in lines)
    assert any("job_succeeded" in line and "keyed" in line for line in lines)
    assert any(line.startswith("RuntimeError: the shop is closed") for line in lines), "a traceback is readable"


def test_success_lines_can_be_switched_off(run):
    ends = {entry["event"] for entry in of_jobs(run(DUTIFUL_LOGS__SUCCESS_LINES="false"))}

    assert ends == {"job_dead", "job_duplicate", "job_retried"}


def test_a_higher_level_leaves_the_failures(run):
    ends = {entry["event"] for entry in of_jobs(run(DUTIFUL_LOGS__LEVEL="ERROR"))}

    assert ends == {"job_dead"}


def until(true, log, seconds=30):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_lines_of_many_threads_are_all_written_and_another_comes_behind_those_before_it():
    lines = Lines("development")
    lines.stream = io.StringIO()

    def write(thread):
        for number in range(500):
            lines.write("job_succeeded", "info", "jobs", {"by": thread, "number": number})

    threads = [threading.Thread(target=write, args=[thread]) for thread in range(8)]
    lines.begin()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.emit(logging.LogRecord("shop", logging.ERROR, "shop.py", 1, "the shop is closed", None, None))

    written = lines.stream.getvalue().splitlines()
    assert written[-1] == "the shop is closed"
    found = [json.loads(line) for line in written[:-1]]
    for thread in range(8):
        assert [line["number"] for line in found if line["by"] == thread] == list(range(500))


def test_a_line_is_written_soon_though_nothing_comes_after_it():
    lines = Lines("development")
    lines.stream = io.StringIO()
    lines.begin()
    for number in range(3):
        lines.write("job_succeeded", "info", "jobs", {"number": number})
        deadline = time.monotonic() + 5
        while f'"number": {number}' not in lines.stream.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.005)
