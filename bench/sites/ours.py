"""An empty job on dutiful; BENCH_KEY says whether a record of it is kept."""

import os

from bench.finish import finished
from workers import actor
from workers.broker import setup_broker
from workers.job import MESSAGE_ID

setup_broker()


@actor(
    queue_name="bench",
    short=True,
    key=MESSAGE_ID if os.environ.get("BENCH_KEY") else None,
    owner="bench",
    expects="a number",
    rollback="none",
)
def empty() -> None:
    """Do nothing but be counted."""
    finished()
