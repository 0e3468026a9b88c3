"""Finds free ports on loopback."""

from __future__ import annotations

import random
import socket

from deploy.local.addresses import LOOPBACK
from deploy.local.errors import StackError

# Below the range that systems give to outgoing connections: a port must still be free when its service restarts.
RANGE = range(20000, 32000)
TRIES = 1000


def is_free(port: int) -> bool:
    """Tell whether a service could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections don't count
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose(count: int) -> list[int]:
    """Return so many different free ports, at random, so that two stacks starting at once hardly meet."""
    chosen: list[int] = []
    for port in random.SystemRandom().sample(RANGE, TRIES):
        if len(chosen) == count:
            break
        if is_free(port):
            chosen.append(port)
    if len(chosen) < count:
        raise StackError(
            "no free ports", expected=f"{count} below {RANGE.stop}", received=str(len(chosen)), safe_to_retry=True
        )
    return chosen
