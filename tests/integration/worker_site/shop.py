"""Jobs for tests with real worker processes; each leaves a line in the file that SHOP_LEDGER names."""

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path

from workers import PermanentFailure, actor, current_job
from workers.broker import setup_broker

setup_broker()
CARD = {"queue_name": "shop", "owner": "tests", "expects": "a line in the ledger", "rollback": "none"}


def write(line: str) -> None:
    with Path(os.environ["SHOP_LEDGER"]).open("a") as ledger:
        ledger.write(f"{line}\n")


@actor(**CARD)
def good(n: int) -> None:
    write(f"good {n}")


@actor(**CARD)
async def gentle(n: int) -> None:
    await asyncio.sleep(0.01)
    write(f"gentle {n} {current_job().attempt}")


@actor(**CARD, max_retries=1, min_backoff=timedelta(milliseconds=200))
def failing() -> None:
    write(f"failing {current_job().attempt}")
    raise RuntimeError("it is broken")


@actor(**CARD)
def hopeless() -> None:
    raise PermanentFailure("never", expected="a user", received="nobody")


@actor(**CARD)
def slow(n: int, seconds: float) -> None:
    write(f"slow {n} began")
    time.sleep(seconds)
    write(f"slow {n} ended")


@actor(**CARD, time_limit=timedelta(seconds=1), max_retries=0)
def endless() -> None:
    while True:
        time.sleep(0.05)


@actor(**CARD)
def mended(n: int) -> None:
    if not Path("mended").exists():
        write(f"mended {n} failed")
        raise PermanentFailure("it is not mended")
    write(f"mended {n} done")


@actor(**CARD, key=None)
def keyless(n: int) -> None:
    write(f"keyless {n}")
