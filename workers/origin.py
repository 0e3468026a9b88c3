"""The origin of a migration is another vhost: which queues of stock Dramatiq are there, and how full."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pika
from pika import exceptions as amqp

from workers.errors import BrokerUnreachable, ConfigurationError
from workers.queues import NOT_FOUND, ask
from workers.rabbitmq import DutifulBroker
from workers.tls import client_context
from workers.transport.refusal import distrusted

_LOCKED: Final = 405


@dataclass(slots=True)
class Part:
    """One queue over there, and what became of its messages.

    Attributes:
      source: its name there.
      queue: the work queue here.
      dead: it holds dead letters.
      exists: it is there.
      waiting: how many messages were ready at the start.
      readers: consumers other than this one, at the start; what they hold can't be seen.
      moved: messages that are here now, and not there.
      delayed: those of them that are not due yet.
      left: messages that stay there.
      reasons: why, for the first of them.
    """

    source: str
    queue: str
    dead: bool
    exists: bool = False
    waiting: int = 0
    readers: int = 0
    moved: int = 0
    delayed: int = 0
    left: int = 0
    reasons: list[str] = field(default_factory=list)


def parts_of(queues: Sequence[str], *, include_dead: bool) -> list[Part]:
    """The queues that stock Dramatiq makes for each work queue, in the order in which they are read."""
    parts = []
    for queue in queues:
        parts += [Part(queue, queue, dead=False), Part(f"{queue}.DQ", queue, dead=False)]
        if include_dead:
            parts.append(Part(f"{queue}.XQ", queue, dead=True))
    return parts


class Origin:
    """Another vhost.

    Parameters:
      url: its AMQP address; several, with ; between them, are tried in turn.
      parts: the queues over there.
      ca_path: the authorities that may sign its certificate; None: those that this system trusts.
    """

    def __init__(self, url: str, parts: Sequence[Part], ca_path: Path | None = None) -> None:
        self.parts = list(parts)
        self._hosts = [_parameters(each, ca_path) for each in url.split(";")]

    def connect(self) -> Any:
        """A new connection."""
        return pika.BlockingConnection(self._hosts)

    def look(self, broker: DutifulBroker) -> None:
        """Count what is there. Nothing is taken, and nothing is declared.

        Raises:
          ConfigurationError: it is our own vhost.
          BrokerUnreachable: there is no connection.
        """
        try:
            with self.connect() as connection:
                self._refuse_our_own_vhost(connection, broker)
                for part in self.parts:
                    self._look(connection, part)
        except (amqp.AMQPError, OSError) as error:
            raise unreachable(error) from error

    def appeared(self, connection: Any) -> list[Part]:
        """The queues that were not there at the last look, and are now."""
        absent = [part for part in self.parts if not part.exists]
        for part in absent:
            self._look(connection, part)
        return [part for part in absent if part.exists]

    def _look(self, connection: Any, part: Part) -> None:
        channel = connection.channel()
        try:
            there = channel.queue_declare(part.source, passive=True).method
        except amqp.ChannelClosedByBroker as error:
            if error.reply_code != NOT_FOUND:
                raise
            return
        part.exists, part.waiting, part.readers = True, there.message_count, there.consumer_count
        channel.close()

    def _refuse_our_own_vhost(self, connection: Any, broker: DutifulBroker) -> None:
        """An exclusive queue of ours is locked for other connections to this vhost, and unknown in every other one."""
        name = f"dutiful.migration.{uuid.uuid4()}"
        ask(broker, partial(_declare_exclusively, name))
        try:
            connection.channel().queue_declare(name, passive=True)
        except amqp.ChannelClosedByBroker as error:
            if error.reply_code == NOT_FOUND:
                return
            if error.reply_code != _LOCKED:
                raise
        finally:
            ask(broker, partial(_delete, name))
        raise ConfigurationError(
            "jobs can't be moved from a vhost into itself",
            expected="--from with the vhost of stock Dramatiq, and DUTIFUL_RABBITMQ__URL with another one",
            received="twice the same vhost",
        )


def _parameters(url: str, ca_path: Path | None) -> pika.URLParameters:
    try:
        parameters = pika.URLParameters(url)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            "--from is no address", expected="amqp://user:password@host:5672/vhost", received=str(error)
        ) from None
    parameters.heartbeat = 15
    parameters.socket_timeout = 5
    parameters.stack_timeout = 10
    if parameters.ssl_options is not None:
        parameters.ssl_options = pika.SSLOptions(client_context(ca_path), parameters.host)
    return parameters


def unreachable(error: BaseException) -> BrokerUnreachable:
    """The error that says why the other vhost can't be read."""
    return distrusted(error) or BrokerUnreachable(
        "the RabbitMQ to move from can't be read",
        expected="a vhost at --from, and a user who may read it",
        received=repr(error),
    )


def _declare_exclusively(name: str, channel: Any, answer: Callable[[Any], None]) -> None:
    channel.queue_declare(name, exclusive=True, callback=answer)


def _delete(name: str, channel: Any, answer: Callable[[Any], None]) -> None:
    channel.queue_delete(name, callback=answer)
