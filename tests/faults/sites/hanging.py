"""Jobs that don't end by themselves, each in another way; the soft limit stops none of them."""

import ctypes
import re
import socket
import threading
import time
from datetime import timedelta

from dramatiq.middleware.threading import raise_thread_exception
from shop import CARD, actor, write

HANGS = {
    **CARD,
    "time_limit": timedelta(seconds=1),
    "hard_time_limit": timedelta(seconds=2),
    "max_retries": 0,
}


def sleeps() -> None:
    time.sleep(3600)


def listens() -> None:
    ours, _theirs = socket.socketpair()
    ours.recv(1)


def waits_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def keeps_the_gil() -> None:
    ctypes.PyDLL(None).sleep(3600)


def backtracks() -> None:
    re.fullmatch(r"(a+)+b", "a" * 60)


def loses_its_thread() -> None:
    """The job ends; its thread dies a moment later, while it waits for the next."""
    raise_later = threading.Timer(0.5, raise_thread_exception, [threading.get_ident(), SystemExit])
    raise_later.start()


WAYS = {
    each.__name__: each for each in (sleeps, listens, waits_for_a_lock, keeps_the_gil, backtracks, loses_its_thread)
}


def hang(way: str) -> None:
    write(f"{way} began")
    WAYS[way]()


def goes_on(seconds: float) -> None:
    """A neighbour."""
    write(f"neighbour began {seconds}")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.02)
    write(f"neighbour ended {seconds}")


hangs = actor(**HANGS, actor_name="hangs")(hang)
neighbour = actor(**CARD, actor_name="neighbour")(goes_on)
