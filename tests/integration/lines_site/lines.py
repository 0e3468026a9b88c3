"""Jobs that make everything write that can write."""

import logging
import threading
import time
import warnings
from contextlib import suppress
from datetime import timedelta

from workers import PermanentFailure, actor, current_job
from workers.broker import setup_broker

setup_broker()
CARD = {"queue_name": "lines", "owner": "tests", "expects": "a line in the log", "rollback": "none"}
SECRET = "an-argument-that-no-line-may-have"


@actor(**CARD)
def succeeds(word: str) -> None:
    """End well, and say nothing."""


@actor(**CARD)
def says(word: str) -> None:
    logging.getLogger("site").warning("two\nlines of %s", "text")
    warnings.warn("an old function", DeprecationWarning, stacklevel=1)
    warnings.warn("a strange value", UserWarning, stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0, name="left-alone")
    thread.start()
    thread.join()


@actor(**CARD, isolated=True)
def alone(word: str) -> None:
    logging.getLogger("site").warning("from a child")
    says.fn(word)


@actor(**CARD, max_retries=1, min_backoff=timedelta(milliseconds=100))
def recovers(word: str) -> None:
    if current_job().attempt == 1:
        raise RuntimeError("not yet\nand not on one line")


@actor(**CARD)
def dies(word: str) -> None:
    raise PermanentFailure("never", expected="another world", received="this one")


@actor(**CARD, isolated=True, time_limit=timedelta(seconds=1), hard_time_limit=timedelta(seconds=1.2), max_retries=0)
def hangs(word: str) -> None:
    while True:
        with suppress(BaseException):
            time.sleep(60)


@actor(**CARD)
async def gentle(word: str) -> None:
    logging.getLogger("site").info("from an event loop")
