"""Jobs that enter a row for each effect: in the commit that ends them, or in one of their own."""

import os
import random
import time
import uuid
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from workers import actor, current_job
from workers.broker import setup_broker

setup_broker()
CARD = {"owner": "tests", "expects": "a row", "rollback": "none"}
LONGEST_PAUSE_SECONDS = 0.02
PATIENCE_SECONDS = 120
ENTER = text("INSERT INTO effects VALUES (:run, :kind, :n, :command, :attempt, :at) ON CONFLICT DO NOTHING")
also = []  # what a later release does in the same commit


def pause():
    time.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))


def row(kind, n):
    job = current_job()
    return {
        "run": str(uuid.uuid4()),
        "kind": kind,
        "n": n,
        "command": os.getsid(0),  # whose worker it is, also for a job that runs in a child of that
        "attempt": job.attempt,
        "at": time.time(),
    }


def enter_alone(kind, n):
    """A commit of the job's own. A store that goes away meanwhile is asked again, so that one run is one row."""
    values, deadline = row(kind, n), time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with current_job().engine.begin() as connection:
                connection.execute(ENTER, values)
                return
        except DBAPIError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def write(*words):
    with Path(os.environ["BANK_LINES"]).open("a") as lines:
        lines.write(" ".join(map(str, words)) + "\n")


@actor(**CARD, queue_name="bank", key="{n}", short=True)
def safe(n: int) -> None:
    with current_job().transaction() as connection:
        connection.execute(ENTER, row("safe", n))
        for statement in also:
            connection.execute(statement, {"n": n, "key": str(n)})
        pause()


@actor(**CARD, queue_name="bank", key="{n}", short=True)
def bare(n: int) -> None:
    enter_alone("bare", n)
    pause()


@actor(**CARD, queue_name="bank", key="{n}", short=True)
def noted(n: int) -> None:
    write("noted", n, time.time())
    pause()


def wait_if_first(kind):
    """The process that begins first waits for a gate; the next one goes straight on."""
    lines = Path(os.environ["BANK_LINES"])
    is_first = f"began {kind}" not in lines.read_text()
    write("began", kind, os.getpid())
    while is_first and not lines.with_name("gate").exists():
        time.sleep(0.05)


@actor(**CARD, queue_name="held", key="{n}")
def held_safe(n: int) -> None:
    wait_if_first("held_safe")
    with current_job().transaction() as connection:
        connection.execute(ENTER, row("held_safe", n))


@actor(**CARD, queue_name="held", key="{n}")
def held_bare(n: int) -> None:
    wait_if_first("held_bare")
    enter_alone("held_bare", n)


@actor(**CARD, queue_name="open", key=None)
def keyless(n: int) -> None:
    write("keyless", n, time.time())
