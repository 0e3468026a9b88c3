"""Jobs that bring about every state that a dashboard shows."""

import os
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from workers import PermanentFailure, actor, current_job
from workers.broker import setup_broker

setup_broker()
MENDED = Path(os.environ.get("MENDED", "mended"))
CARD = {"queue_name": "signals", "owner": "tests", "expects": "a point in a panel", "rollback": "none"}


@actor(**CARD)
def succeeds(n: int) -> None:
    """End well."""


@actor(**CARD, max_retries=1, min_backoff=timedelta(milliseconds=100))
def recovers() -> None:
    if current_job().attempt == 1:
        raise RuntimeError("not yet")


@actor(**CARD)
def dies() -> None:
    if not MENDED.exists():
        raise PermanentFailure("never", expected="another world", received="this one")


@actor(**CARD)
def refuses() -> None:
    if not MENDED.exists():
        raise PermanentFailure("not like this", expected="something else", received="nothing")


@actor(**CARD)
def postpones() -> None:
    succeeds.send_with_options(kwargs={"n": -1}, delay=timedelta(minutes=1))


@actor(**CARD, time_limit=timedelta(seconds=1), max_retries=0)
def overruns() -> None:
    while True:
        time.sleep(0.05)


@actor(
    **CARD, isolated=True, time_limit=timedelta(seconds=1), hard_time_limit=timedelta(milliseconds=1500), max_retries=0
)
def hangs() -> None:
    while True:
        with suppress(BaseException):
            time.sleep(60)


@actor(**CARD)
def lasts(seconds: float) -> None:
    time.sleep(seconds)
