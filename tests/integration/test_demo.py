"""The demo holds on real servers, and notices each way in which it can be broken.

One RabbitMQ and one PostgreSQL serve all runs; each run has a vhost, a database and a worker of its own.
"""

import io
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

from deploy.demo.__main__ import Options, import_and_check, observer_of, overrides
from deploy.demo.display import Display
from deploy.demo.feed import Shape
from deploy.demo.hostile import HOSTILE
from deploy.demo.run import Demo
from workers.store.engine import create_store_engine
from workers.store.migrate import migrate

pytestmark = pytest.mark.timeout(600)

SHAPE = Shape(posts=250, hostile=len(HOSTILE))
LEASE_SECONDS = 20  # so long a job whose message was lost may still seem to run


@pytest.fixture
def demo(rabbitmq, postgres, broker_node, stack, tmp_path):
    """Return what runs the demo, broken in some way, and hands back its status and its words."""

    def run(sabotage=""):
        engine = create_store_engine(postgres)
        migrate(engine, "actors")
        engine.dispose()
        for name in ("feeds", "public"):
            (tmp_path / name).mkdir()
        changes = overrides(tmp_path, Options(posts=SHAPE.posts, sabotage=sabotage), SHAPE)
        servers = {"DUTIFUL_RABBITMQ__URL": rabbitmq, "DUTIFUL_STORE__URL": postgres}
        changes["worker"]["environment"] |= servers
        changes["operator"] = {"environment": servers}
        changes["worker"]["depends_on"] = {}
        worker = stack(services=["worker"], overrides=changes)
        words = io.StringIO()
        display = Display(Console(file=words, width=120))
        with observer_of(worker, broker_node.url("rabbitmq", 15672)) as observer:
            status = import_and_check(Demo(worker, observer, tmp_path, SHAPE, display, sabotage))
        return status, words.getvalue()

    return run


def broken_checks(words):
    return re.findall(r"^ +BROKEN +(.+)$", words, re.MULTILINE)


@pytest.mark.long
def test_the_demo_holds(demo):
    status, words = demo()
    assert status == 0, words
    assert broken_checks(words) == []
    assert "killed a worker process with SIGKILL" in words
    assert "duplicates suppressed" in words


@pytest.mark.long
@pytest.mark.parametrize(
    ("sabotage", "noticed"),
    [
        ("skip-one", "every valid post is stored"),
        ("double", "each post is stored once"),
        ("ack-first", "every valid post is stored"),
    ],
)
def test_a_sabotaged_demo_fails_and_says_what_it_noticed(demo, monkeypatch, sabotage, noticed):
    monkeypatch.setattr("deploy.demo.run.QUIET_SECONDS", LEASE_SECONDS + 5)  # there is something to notice by then
    status, words = demo(sabotage)
    assert status == 1, words
    assert noticed in broken_checks(words), words


@pytest.mark.parametrize(("variable", "value"), [("BREAK", "everything"), ("POSTS", "many"), ("SEED", "-1")])
def test_a_variable_that_can_not_be_used_is_refused_before_anything_starts(variable, value):
    command = [sys.executable, "-m", "deploy.demo"]
    done = subprocess.run(
        command, env={**os.environ, variable: value}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert variable in done.stdout
    assert value in done.stdout
    assert "Nothing was started" in done.stdout


def test_an_unknown_sabotage_is_answered_with_the_list():
    with pytest.raises(ValueError, match="skip-one, double, ack-first"):
        Options.read({"BREAK": "everything"})
