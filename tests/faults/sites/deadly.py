"""Jobs in child processes, and jobs that kill the process that runs them."""

import ctypes
import os
import sys
import time
from datetime import timedelta

import hanging
from shop import CARD, actor, current_job, good, write
from sqlalchemy import text

BAD = {**CARD, "max_retries": 8, "min_backoff": 100, "max_backoff": 200}


class OwnError(Exception):
    def __init__(self, code, *, extra):
        super().__init__(code)
        self.extra = extra


def segfaults() -> None:
    ctypes.string_at(0)


def exits() -> None:
    os._exit(3)


def hoards() -> None:
    """More memory than there is."""
    kept = [bytearray(64 * 1024 * 1024) for _ in range(128)]
    write(f"has {len(kept)}")


def raises() -> None:
    raise OwnError("of its own", extra={"a": 1})


WAYS = {each.__name__: each for each in (segfaults, exits, hoards, raises)} | hanging.WAYS


def die(way: str) -> None:
    write(f"{way} began {current_job().attempt} in {os.getpid()}")
    WAYS[way]()


once = actor(**CARD, actor_name="dies_once", isolated=True, max_retries=0, memory_limit_megabytes=512)(die)
hangs = actor(**hanging.HANGS, actor_name="hangs_isolated", isolated=True)(hanging.hang)


@actor(**CARD, isolated=True)
def effective(n: int) -> int:
    """All that a job can do, in a child."""
    job = current_job()
    with job.transaction(checkpoint={"half": n}):
        good.send(n=n + 1)
    with job.transaction() as connection:
        assert connection.execute(text("select count(*) from dutiful_keys")).scalar() > 0
        good.send(n=n + 2)
        job.returns(n)
    good.send(n=n + 3)
    sys.stderr.write(f"heard from {job.id} with {job.checkpoint}\n")
    return n


@actor(**CARD, isolated=True, max_retries=0)
async def asynchronous(n: int) -> None:
    write(f"asynchronous {n} {current_job().attempt}")


@actor(**CARD, isolated=True, time_limit=timedelta(seconds=60))
def waits(n: int) -> None:
    write(f"waits {n} in {os.getpid()}")
    try:
        time.sleep(60)
    finally:
        write(f"waits {n} cleaned up")


CROWD = {**CARD, "queue_name": "crowd", "short": True}
crowd_death = actor(**{**BAD, **CROWD}, actor_name="dies_in_crowd")(die)
keyless_death = actor(**{**BAD, **CROWD}, actor_name="dies_keyless", key=None)(die)


def goes_along(n: int) -> None:
    """A neighbour of the above, prefetched by the dozen."""
    write(f"neighbour {n}")
    time.sleep(0.002)


neighbour = actor(**CROWD, actor_name="goes_along")(goes_along)
keyless_neighbour = actor(**CROWD, actor_name="goes_along_keyless", key=None)(goes_along)
