"""Asking RabbitMQ about its queues: each question has a channel of its own, and a deadline."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from dramatiq.errors import ConnectionClosed, QueueJoinTimeout
from pika import exceptions as amqp
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from workers.bulk import BulkSending
from workers.transport import topology
from workers.transport.refusal import hopeless

DECLARE_SECONDS: Final = 30.0
_JOIN_LOOKS: Final = 10


class Asking(BulkSending):
    """The part of the broker that looks at queues, and empties them."""

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Make a queue known to this process; with `ensure`, to RabbitMQ."""
        raise NotImplementedError

    def ask(self, act: Callable[[Any, Callable[[Any], None]], None], seconds: float = DECLARE_SECONDS) -> Any:
        """Do something on a channel of its own, and return what RabbitMQ answers.

        Raises:
          ConnectionClosed: there was no answer in time.
          ConfigurationError: it refused, and trying again would never help.
        """
        try:
            return self.publisher.ask(act, seconds)
        except (amqp.AMQPError, AMQPConnectorException, TimeoutError, OSError) as error:
            raise (hopeless(error) or ConnectionClosed(error)) from error  # type: ignore[no-untyped-call]

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        """How many messages are in a queue: ready, delayed (always 0: delays aren't kept a queue), dead."""
        self.declare_queue(queue_name, ensure=True)
        ready, dead = (self.ask(partial(topology.look, name)) for name in (queue_name, topology.dead_queue(queue_name)))
        return ready.method.message_count, 0, dead.method.message_count

    def flush(self, queue_name: str) -> None:
        """Drop every message of a queue that is ready, and its dead letters. Delayed messages stay."""
        self.declare_queue(queue_name, ensure=True)
        for name in (queue_name, topology.dead_queue(queue_name)):
            self.ask(partial(_purge, name))

    def join(
        self, queue_name: str, min_successes: int = _JOIN_LOOKS, idle_time: int = 100, *, timeout: int | None = None
    ) -> None:
        """Wait until a queue has had nothing ready for a while. For tests: it doesn't see unsettled messages."""
        deadline = timeout and time.monotonic() + timeout / 1000
        successes = 0
        while successes < min_successes:
            if deadline and time.monotonic() >= deadline:
                raise QueueJoinTimeout(queue_name)  # type: ignore[no-untyped-call]
            successes = successes + 1 if self.get_queue_message_counts(queue_name)[0] == 0 else 0
            time.sleep(idle_time / 1000)


def _purge(queue: str, channel: Any, answer: Callable[[Any], None]) -> None:
    channel.queue_purge(queue, callback=answer)
