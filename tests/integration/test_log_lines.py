"""Each line that the real command writes is JSON with the agreed fields, but for the few that are Dramatiq's own."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import ROOT, Queue, Worker, envelope, until

SITE = Path(__file__).parent / "lines_site"
SECRET = "an-argument-that-no-line-may-have"
ALWAYS = {"event", "level", "logger", "timestamp", "environment"}
OF_JOBS = {"message_id", "actor", "queue", "attempt"}
LEVELS = {"debug", "info", "warning", "error", "critical"}
# Of its parent, and of what it forks before our code runs: docs/operations.md has them too.
DRAMATIQS = re.compile(
    r"\[[-0-9:, ]+\] \[PID \d+\] \[MainThread\] \[dramatiq\.\w+(\(\d+\))?\] \[INFO\] "
    r"(Dramatiq '.+' is booting up\.|Sending signal 'SIGTERM' to subprocesses\.\.\.|"
    r"Fork process 'workers\.exposition:serve_workers' is ready for action\.)"
)


@pytest.fixture
def worker(rabbitmq, tmp_path):
    environment = {
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db",
        "DUTIFUL_ENVIRONMENT": "staging",
        "PYTHONWARNINGS": "default",
    }
    started = Worker(SITE, environment, tmp_path, "-p", "2", "-t", "2", module="lines")
    started.wait_until_ready(2)
    yield started
    started.kill()


@pytest.mark.timeout(600)
def test_every_line_of_the_real_command_is_json_with_the_agreed_fields(worker, rabbitmq):
    queue = Queue(rabbitmq, "lines")
    names = ("succeeds", "says", "alone", "recovers", "dies", "hangs", "gentle")
    queue.publish(*(envelope(name, queue="lines", word=SECRET) for name in names), b"no json", envelope("x", "lines"))
    expected = {"job_succeeded": 5, "job_retried": 1, "job_dead": 2}
    until(lambda: all(len(worker.events(name)) >= count for name, count in expected.items()), what=worker.text())
    status, _ = worker.stop()

    plain, found = [], []
    for line in worker.text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            plain.append(line)
    assert status == 0
    assert [line for line in plain if not DRAMATIQS.fullmatch(line)] == []
    for each in found:
        assert each.keys() >= ALWAYS, each
        assert each["environment"] == "staging"
        assert each["level"] in LEVELS
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", each["timestamp"]), each
        if re.fullmatch(r"job_\w+", each["event"]) or each["logger"] == "site":
            assert each.keys() >= OF_JOBS, each
    said = {each["event"] for each in found}
    assert {"two\nlines of text", "from a child", "from an event loop"} <= said
    assert any("a strange value" in each for each in said), "what Python warns of"
    assert any("left-alone" in each for each in said), "what ended a thread"
    assert SECRET not in worker.text()
    for line in plain:
        words = DRAMATIQS.fullmatch(line)[2]
        assert words.split(" '")[0].rstrip(".") in (ROOT / "docs/operations.md").read_text(), words
