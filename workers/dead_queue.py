"""A dead queue is looked at letter by letter, by one operator at a time, and keeps what is not settled.

AMQP can't look without taking. So one channel holds every letter that was looked at, unsettled, until it closes; then
RabbitMQ puts them back where they were. Nothing is sent anywhere, so nothing can be lost, whenever this ends.
"""

import copy
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, Self

import pika
from pika import exceptions as amqp

from workers.clock import utcnow
from workers.errors import BrokerUnreachable, ConfigurationError, DutifulError, QueueHeld
from workers.letter import Letter
from workers.queues import NOT_FOUND
from workers.rabbitmq import DutifulBroker
from workers.transport.refusal import distrusted

# AMQP counts a consumer's unsettled messages in 16 bits: a longer queue needs another consumer, when this one is full.
_HELD_BY_ONE: Final = 60_000
_HEARTBEAT_SECONDS: Final = 60
_TURN_SECONDS: Final = 0.1
_IDLE_SECONDS: Final = 1.0
_RETURN_SECONDS: Final = 0.3
_PATIENCE_SECONDS: Final = 30.0
_REFUSED: Final = 403
_LOCKED: Final = 405
_NOTE_MS: Final = 24 * 3600 * 1000


class DeadQueue:
    """One dead queue, held by one operator. A context manager.

    Parameters:
      broker: whose hosts are connected to, with a connection of its own.
      name: of the dead queue.
      who: the operator, for others who would like to look.

    Attributes:
      total: how many letters there were when it was opened; later ones are not looked at.

    Raises:
      QueueHeld: somebody else holds it.
      BrokerUnreachable: RabbitMQ can't be reached, or the connection was lost.
    """

    def __init__(self, broker: DutifulBroker, name: str, who: str) -> None:
        self.name = name
        self.total = 0
        self._who = who
        parameters = broker.parameters
        hosts = parameters if isinstance(parameters, list) else [parameters]
        self._hosts = [copy.copy(each) for each in hosts]
        for each in self._hosts:
            each.heartbeat = _HEARTBEAT_SECONDS  # a person may read a page of a list for a while
        self._connection: Any = None
        self._channel: Any = None
        self._arrived: deque[Letter] = deque()
        self._is_canceled = False

    def __enter__(self) -> Self:
        try:
            self._connection = pika.BlockingConnection(self._hosts)
            self._lock()
            self._channel = self._connection.channel()
            self._channel.add_on_cancel_callback(self._canceled)
            self.total = self._count()
        except (amqp.AMQPError, OSError) as error:
            self.close()
            raise _lost(error) from error
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def letters(self) -> Iterator[Letter]:
        """Each letter that was there, in order. Call it once."""
        seen = consumers = 0
        try:
            while seen < self.total:
                if seen == consumers * _HELD_BY_ONE:
                    consumers += 1
                    self._consume(consumers)
                letter = self._next()
                if letter is None:
                    return
                seen += 1
                yield letter
        except (amqp.AMQPError, OSError) as error:
            raise _lost(error) from error

    def settle(self, letter: Letter) -> None:
        """Take a letter out of the queue, for good."""
        try:
            self._channel.basic_ack(letter.tag)
        except (amqp.AMQPError, OSError) as error:
            raise _lost(error) from error

    def turn(self, seconds: float = 0) -> None:
        """Let the connection do its work for a while."""
        try:
            self._connection.process_data_events(seconds)
        except (amqp.AMQPError, OSError) as error:
            raise _lost(error) from error

    def close(self) -> None:
        """Put back what is not settled, in its order, and let others look."""
        connection, self._connection = self._connection, None
        if connection is None or not connection.is_open:
            return
        try:
            if self._channel is not None and self._channel.is_open:
                self._arrived.clear()
                self._channel.close()
            connection.close()
        except (amqp.AMQPError, OSError):
            return  # RabbitMQ puts it back just the same

    def _lock(self) -> None:
        """An exclusive queue is a lock that goes with its connection; a note in another queue says whose it is."""
        lock = f"dutiful.listing.{self.name}"
        note = f"{lock}.by"
        channel = self._connection.channel()
        try:
            channel.queue_declare(lock, exclusive=True, auto_delete=True)
        except amqp.ChannelClosedByBroker as error:
            if error.reply_code != _LOCKED:
                raise
            raise QueueHeld(
                f"somebody else is looking at {self.name}",
                expected="one operator at a time",
                received=self._read(note),
            ) from None
        channel.queue_declare(note, durable=True, arguments={"x-expires": _NOTE_MS})
        channel.queue_purge(note)
        channel.basic_publish("", note, f"{self._who}, since {utcnow():%Y-%m-%d %H:%M:%S} UTC".encode())
        channel.close()

    def _read(self, note: str) -> str:
        channel = self._connection.channel()
        try:
            found, _, body = channel.basic_get(note)
        except amqp.ChannelClosedByBroker:
            return "somebody who left no name"
        if found is None:
            return "somebody who left no name"
        channel.basic_nack(found.delivery_tag)
        return str(body.decode(errors="replace"))

    def _count(self) -> int:
        """How many there are. Under load RabbitMQ declares any quorum queue to be empty; then a look must tell."""
        try:
            counted = int(self._channel.queue_declare(self.name, passive=True).method.message_count)
        except amqp.ChannelClosedByBroker as error:
            if error.reply_code == NOT_FOUND:
                return 0
            raise
        return counted or self._count_by_a_look()

    def _count_by_a_look(self) -> int:
        channel = self._connection.channel()
        found, _, _ = channel.basic_get(self.name)
        channel.close()  # which puts it back where it was
        if found is None:
            return 0
        self._connection.process_data_events(_RETURN_SECONDS)
        return int(found.message_count) + 1

    def _consume(self, number: int) -> None:
        self._channel.basic_qos(prefetch_count=min(_HELD_BY_ONE, self.total - (number - 1) * _HELD_BY_ONE))
        # Named so that RabbitMQ gives back what the first holds first.
        self._channel.basic_consume(self.name, self._take, consumer_tag=f"dutiful.listing.{number:05d}")

    def _take(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._arrived.append(Letter(self.name, method.delivery_tag, properties, body))

    def _canceled(self, _frame: Any) -> None:
        self._is_canceled = True

    def _next(self) -> Letter | None:
        """The next letter; None when there are no more: somebody has taken some out."""
        began = time.monotonic()
        while not self._arrived:
            self._connection.process_data_events(_TURN_SECONDS)
            waited = time.monotonic() - began
            if self._arrived:
                break
            if waited > _IDLE_SECONDS and self._count() == 0:
                return None
            if waited > _PATIENCE_SECONDS or self._is_canceled:
                raise TimeoutError(f"{self.name} gives no more letters")
        return self._arrived.popleft()


def _lost(error: Exception) -> DutifulError:
    if getattr(error, "reply_code", None) == _REFUSED:
        return ConfigurationError(
            "this user of RabbitMQ may not look at dead letters",
            expected="DUTIFUL_RABBITMQ__URL with the operator's user: docs/security.md",
            received=str(getattr(error, "reply_text", error)),
        )
    return distrusted(error) or BrokerUnreachable(
        "the dead letters can't be looked at; all of them are still there",
        expected="a connection to DUTIFUL_RABBITMQ__URL that lasts",
        received=str(error) or repr(error),
    )
