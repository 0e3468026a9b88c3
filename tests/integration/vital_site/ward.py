"""A job whose time limit can't reach it: it waits inside C."""

import time
from datetime import timedelta

from workers import actor
from workers.broker import setup_broker

setup_broker()


@actor(
    queue_name="ward",
    time_limit=timedelta(seconds=1),
    max_retries=0,
    owner="tests",
    expects="nothing",
    rollback="none",
)
def blocked() -> None:
    time.sleep(60)
