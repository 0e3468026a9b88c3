"""An empty job on dutiful, and one that says how long it waited; BENCH_KEY says whether a record of them is kept."""

import os

from bench.finish import finished, waited
from workers import actor
from workers.broker import setup_broker
from workers.job import MESSAGE_ID

setup_broker()


kept = actor(
    queue_name="bench",
    short=True,
    key=MESSAGE_ID if os.environ.get("BENCH_KEY") else None,
    owner="bench",
    expects="a number",
    rollback="none",
)


@kept
def empty() -> None:
    """Do nothing but be counted."""
    finished()


@kept
def timed(sent: float) -> None:
    """Say how long it has waited."""
    waited(sent)
