"""The link to RabbitMQ fails in the ways that are listed here, and one of them is made here: no answer in time."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPChannelError, AMQPConnectionError

# A handshake that takes too long is an AMQPConnectorException and no AMQPError; a host without an address, an OSError.
LINK_ERRORS: Final = (AMQPConnectionError, AMQPChannelError, AMQPConnectorException, OSError)


class NoAnswer(AMQPConnectionError):  # type: ignore[misc]  # pika has no types
    """RabbitMQ did not answer in time; the connection was given up, and nobody knows what came of the call."""


@contextmanager
def answered_within(connection: pika.BlockingConnection, seconds: float) -> Iterator[None]:
    """Give the connection up when the block takes longer.

    pika's blocking publish waits for its confirm without a limit of its own: heartbeats end it when the link is silent,
    and nothing does when the link lives but a quorum of nodes doesn't.

    Raises:
      NoAnswer: out of pika's call, when the time is over.
    """
    # The public call_later() fires only between blocking calls; these two are what pika's own time limits are made of.
    connected = connection._impl  # noqa: SLF001
    late = NoAnswer(f"no answer within {seconds} s")
    timer = connected._adapter_call_later(seconds, partial(connected._terminate_stream, late))  # noqa: SLF001
    try:
        yield
    finally:
        if connection.is_open:
            connected._adapter_remove_timeout(timer)  # noqa: SLF001
