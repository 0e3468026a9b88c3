"""The fixtures for people's own tests run what is due, show what came of it, and end whatever a job does."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from workers import PermanentFailure, RetryLater, actor, current_job
from workers.broker import setup_broker
from workers.store import tables

CARD = {"owner": "tests", "expects": "a word in a list", "rollback": "none"}
setup_broker()
ran = []


@pytest.fixture(autouse=True)
def _fresh():
    ran.clear()


@actor(**CARD, actor_name="testing.good", key="{word}")
def good(word: str) -> None:
    ran.append(word)


@actor(**CARD, actor_name="testing.parent")
def parent() -> None:
    with current_job().transaction():
        good.send(word="child")


@actor(**CARD, actor_name="testing.patient")
def patient() -> None:
    ran.append(current_job().attempt)
    if current_job().attempt == 1:
        raise RetryLater("not yet", delay=timedelta(minutes=5))


@actor(**CARD, actor_name="testing.hopeless")
def hopeless() -> None:
    raise PermanentFailure("never", expected="a user", received="nobody")


@actor(**CARD, actor_name="testing.raising", max_retries=2)
def raising(kind: str) -> None:
    ran.append(kind)
    raise {"error": ValueError, "exit": SystemExit, "interrupt": KeyboardInterrupt, "generator": GeneratorExit}[kind]


@actor(**CARD, actor_name="testing.elsewhere", queue_name="elsewhere")
def elsewhere() -> None:
    ran.append("elsewhere")


STILL_OPEN = []


def rows(connection):
    return connection.execute("SELECT count(*) FROM dutiful_keys").fetchone()[0]


def test_a_store_that_a_test_leaves_open(jobs):
    good.send(word="left")
    jobs.run()
    STILL_OPEN.append(sqlite3.connect(jobs.store.url.database))
    assert rows(STILL_OPEN[0]) == 1


def test_is_empty_in_the_next_one_for_who_has_it_open_as_well(jobs):
    with closing(STILL_OPEN.pop()) as connection:
        assert rows(connection) == 0


def test_nothing_runs_before_run(jobs):
    good.send(word="a")

    assert ran == []
    assert [message.actor_name for message in jobs.published] == ["testing.good"]

    jobs.run()
    assert ran == ["a"]


def test_run_goes_on_until_what_was_sent_meanwhile_has_run_too(jobs):
    parent.send()
    elsewhere.send()

    jobs.run()

    assert sorted(ran) == ["child", "elsewhere"]
    assert [message.actor_name for message in jobs.published][-1] == "testing.good"


def test_a_key_that_is_done_does_not_run_again(jobs):
    for _ in range(3):
        good.send(word="once")
    jobs.run()
    good.send(word="once")
    jobs.run()

    assert ran == ["once"]


def test_a_delayed_job_waits_for_the_clock(jobs):
    good.send_with_options(kwargs={"word": "late"}, delay=60_000)
    jobs.run()
    assert ran == []

    jobs.clock.advance(timedelta(seconds=59))
    jobs.run()
    assert ran == []

    jobs.clock.advance(timedelta(seconds=1))
    jobs.run()
    assert ran == ["late"]


def test_a_retry_waits_for_its_delay(jobs):
    patient.send()
    jobs.run()
    jobs.run()
    assert ran == [1]

    jobs.clock.advance(timedelta(minutes=5))
    jobs.run()
    assert ran == [1, 2]
    assert jobs.dead_letters == []


def test_a_dead_letter_shows_its_message_and_why(jobs):
    hopeless.send()

    jobs.run()

    (letter,) = jobs.dead_letters
    assert letter["message"].actor_name == "testing.hopeless"
    assert letter["dutiful-reason"] == "permanent"
    assert letter["dutiful-exception-type"] == "PermanentFailure"
    assert "expected a user" in letter["dutiful-exception-message"]


@pytest.mark.parametrize("kind", ["error", "exit", "interrupt", "generator"])
@pytest.mark.timeout(30)
def test_whatever_a_job_raises_does_not_hang_run(jobs, kind):
    raising.send(kind=kind)
    good.send(word="after it")
    began = time.monotonic()

    for _ in range(3):
        jobs.run()
        jobs.clock.advance(timedelta(hours=2))

    assert time.monotonic() - began < 10
    assert ran.count(kind) == 3
    assert "after it" in ran
    (letter,) = jobs.dead_letters
    assert letter["dutiful-reason"] == "retries_exhausted"


@pytest.mark.parametrize("time", ["first", "second"])
def test_each_test_begins_in_an_empty_world(jobs, time):
    assert jobs.published == []
    assert jobs.dead_letters == []
    with jobs.store.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(tables.keys)) == 0

    good.send(word="left behind")
    hopeless.send()
    jobs.run()
    good.send(word="not run")


def test_run_leaves_the_middleware_as_it_was(jobs):
    before = [type(each) for each in jobs.broker.middleware]

    jobs.run()
    jobs.run()

    assert [type(each) for each in jobs.broker.middleware] == before


def test_a_strangers_settings_do_not_reach_the_tests(tmp_path):
    """In a project of somebody else's, whose shell points at production."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["workers.testing"]\n')
    (tmp_path / "test_theirs.py").write_text(
        "from workers import actor\n"
        "from workers.broker import setup_broker\n"
        "setup_broker()\n"
        "@actor(owner='them', expects='nothing', rollback='none')\n"
        "def theirs() -> None: print('it ran')\n"
        "def test_theirs(jobs):\n"
        "    theirs.send()\n"
        "    jobs.run()\n"
        "    assert jobs.dead_letters == []\n"
        "    assert 'production' not in str(jobs.store.url)\n"
    )
    environment = {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "DUTIFUL_ENVIRONMENT": "production",
        "DUTIFUL_RABBITMQ__URL": "amqp://production:5672/dutiful",
        "DUTIFUL_STORE__URL": "sqlite:////production.db",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", str(tmp_path)]

    answer = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stdout
    assert "it ran" in answer.stdout
