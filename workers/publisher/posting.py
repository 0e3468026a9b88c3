"""Posting puts jobs on this process's connection; a forked child gets one of its own."""

import os
import threading
import time
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pika
from pika import exceptions as amqp

from .. import wire
from ..errors import BrokerUnreachable, ConfigurationError, PublishError, PublishUnconfirmed, QueueMissing
from ..transport import topology
from ..transport.connection import bound
from ..transport.post import Post
from ..transport.publisher import Publisher as Transport
from .jobs import Job

# Longer than a post's own deadline: its thread tells first.
GRACE_SECONDS: Final = 1.0


class Posting:
    """The way to RabbitMQ, which connects when it is first needed.

    Parameters:
      url: with the vhost of dutiful; several, with ; between them, are tried in turn.
      app: the name of the service that publishes, for people who look at a message.
      ca_path: the authorities that may sign RabbitMQ's certificate; None: those that this system trusts.

    Raises:
      ConfigurationError: the address can't be read.
    """

    def __init__(
        self,
        url: str,
        app: str,
        *,
        heartbeat_seconds: int,
        connect_timeout_seconds: int,
        ca_path: Path | None = None,
    ) -> None:
        self._app = app
        self._hosts = _hosts(url)
        bound(
            self._hosts,
            heartbeat_seconds=heartbeat_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            ca_path=ca_path,
        )
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self._seen: set[str] = set()
        if hasattr(os, "register_at_fork"):
            me = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _forget_the_parent(me()))

    @property
    def transport(self) -> Transport:
        """This process's connection."""
        with self._lock:
            if self._transport is None:
                self._transport = Transport(self._hosts, name=f"dutiful-publisher {self._app}")
            return self._transport

    def post(self, job: Job, timeout_seconds: float) -> Post:
        """What is published for a job.

        Raises:
          ContractError: the delay is too long.
        """
        exchange, key = topology.JOBS, job.queue_name
        if job.delay is not None:
            exchange, key = topology.delay_route(int(job.delay.total_seconds() * 1000), job.queue_name)
        properties = wire.properties(job)
        properties.app_id = self._app
        return Post(exchange, key, job.body, properties, time.monotonic() + timeout_seconds, job.is_repeatable)

    def needs_a_look(self, job: Job) -> bool:
        """Whether the queue must be looked for first: RabbitMQ does not tell of one that is missing after a delay."""
        return job.delay is not None and job.queue_name not in self._seen

    def look(self, queue: str, timeout_seconds: float) -> None:
        """Make sure that a queue is there.

        Raises:
          PublishError: it isn't, or RabbitMQ can't be reached.
        """
        transport = self.transport
        try:
            transport.ask(partial(topology.look, queue), timeout_seconds)
        except amqp.ChannelClosedByBroker as error:
            raise QueueMissing("there is no such queue", expected="a queue", received=queue) from error
        except (amqp.AMQPError, TimeoutError, OSError) as error:
            raise transport.unreachable() from error
        self._seen.add(queue)

    def explained(self, error: PublishError, job: Job) -> PublishError:
        """The same error, with the job in it, in words of a service that isn't ours."""
        error.message = job
        if isinstance(error, BrokerUnreachable):
            error.expected = f"a broker at {' or '.join(f'{each.host}:{each.port}' for each in self._hosts)}"
        if isinstance(error, PublishUnconfirmed):
            error.safe_to_retry = job.is_repeatable
        return error

    def close(self) -> None:
        """Close the connection, in a few seconds at most. What is not confirmed by then ends as unconfirmed."""
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def forget_the_parent(self) -> None:
        """In a forked child: the connection and the thread that serves it are the parent's."""
        self._lock, self._transport = threading.Lock(), None


def _forget_the_parent(posting: Posting | None) -> None:
    if posting is not None:
        posting.forget_the_parent()


def _hosts(url: str) -> Sequence[Any]:
    try:
        return [pika.URLParameters(each) for each in url.split(";")]
    except ValueError:
        raise ConfigurationError(
            "the address of RabbitMQ can't be read",
            expected="amqp://user:password@host:5672/vhost, with a password's / as %2F",
        ) from None  # the error may hold a part of the password
