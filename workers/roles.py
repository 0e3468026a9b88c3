"""A role says what one kind of user may do in dutiful's vhost, as RabbitMQ's patterns."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from workers.transport import topology

_NOTHING: Final = "^$"
_DEFAULT_EXCHANGE: Final = r"amq\.default"


@dataclass(frozen=True, slots=True)
class Role:
    """What a user may do.

    Attributes:
      configure: names that it may declare and delete.
      write: exchanges that it may publish to, and what it may bind.
      read: queues that it may take from, and exchanges that it may bind to.
      tags: what the management API lets it see.
    """

    configure: str
    write: str
    read: str
    tags: tuple[str, ...] = ()


def publisher() -> Role:
    """It sends jobs, now or later, and can do nothing else: not even look into a queue."""
    return Role(_NOTHING, _pattern([_word(topology.JOBS), _LEVELS]), _NOTHING)


def worker(queues: Iterable[str]) -> Role:
    """It declares what it needs, consumes work queues, and writes dead letters, which it can't take out."""
    work = sorted(queues)
    dead = [_word(topology.dead_queue(queue)) for queue in work]
    names = [*_SHARED, *map(_word, work)]
    # Dead letters and parked messages go through the default exchange; a vhost's store is an alternate exchange.
    return Role(_pattern([*names, *dead]), _pattern([_DEFAULT_EXCHANGE, _STORES, *names]), _pattern(names))


def operator(queues: Iterable[str]) -> Role:
    """It runs `dutiful`: what a worker may do, and dead letters are its to replay and discard."""
    work = sorted(queues)
    dead = [_word(topology.dead_queue(queue)) for queue in work]
    names = [*_SHARED, _LISTINGS, *map(_word, work), *dead]
    return Role(_pattern(names), _pattern([_DEFAULT_EXCHANGE, _STORES, *names]), _pattern(names), ("monitoring",))


def metrics() -> Role:
    """It reads numbers through the management API, and nothing through AMQP."""
    return Role(_NOTHING, _NOTHING, _NOTHING, ("monitoring",))


def _word(name: str) -> str:
    return re.escape(name).replace(r"\-", "-")


def _pattern(names: list[str]) -> str:
    return f"^({'|'.join(names)})$"


_LEVELS: Final = _word(topology.level(0)).removesuffix("00") + r"\d\d"
_STORES: Final = _word(topology.STORE) + r"\..+"
_LISTINGS: Final = r"dutiful\.listing\..+"  # who looks at dead letters holds a queue of this name
_SHARED: Final = [
    *map(_word, (topology.JOBS, topology.DELIVER, topology.UNDELIVERABLE, topology.STORE)),
    _LEVELS,
    _word(topology.parked_queue("")) + ".+",
]
