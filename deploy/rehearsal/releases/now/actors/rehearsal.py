"""Adds the jobs of the rehearsal to the release that runs now: each enters a row for each of its effects."""
# ruff: noqa: INP001  it is laid over a release's own folder

import random
import time

from sqlalchemy import text

from workers import actor, current_job

ENTER = text("INSERT INTO rehearsal_entries (job, n, sent, at) VALUES (:job, :n, :sent, :at)")
LONGEST_SECONDS = 0.02
STEP_SECONDS = 0.05


@actor(
    actor_name="rehearsal.enter",
    queue_name="rehearsal",
    key="{n}",
    short=True,
    owner="platform",
    expects="a row",
    rollback="none: it is a rehearsal",
)
def enter(n: int, sent: float) -> None:
    """Enter one row in the commit that ends the job."""
    time.sleep(random.uniform(0, LONGEST_SECONDS))  # noqa: S311  no secret
    with current_job().transaction() as connection:
        connection.execute(ENTER, {"job": "enter", "n": n, "sent": sent, "at": time.time()})


@actor(
    actor_name="rehearsal.linger",
    queue_name="rehearsal-long",
    key="{n}",
    owner="platform",
    expects="a row, after a while",
    rollback="none: it is a rehearsal",
)
def linger(n: int, sent: float, seconds: float) -> None:
    """Run for longer than a deployment waits, so that it is interrupted and begins again."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(STEP_SECONDS)  # short: an interrupt arrives between two of them
    with current_job().transaction() as connection:
        connection.execute(ENTER, {"job": "linger", "n": n, "sent": sent, "at": time.time()})
