"""The consumer binds each message to the channel that delivered it, and settles it only there."""

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dramatiq.brokers.rabbitmq import _RabbitmqConsumer
from dramatiq.errors import ConnectionClosed

from workers import dead_letters, envelope
from workers.delivery import Delivery
from workers.errors import ContractError, PublishError
from workers.transport.link import LINK_ERRORS

if TYPE_CHECKING:
    from workers.broker import DutifulBroker

# A message that is handed back returns at once; this keeps a fault that lasts from spinning.
_HAND_BACK_SECONDS: Final = 1.0


class RabbitmqConsumer(_RabbitmqConsumer):
    """What Dramatiq's worker reads messages from, and settles them with.

    Delivery tags start at 1 on every channel. After a reconnect the same tag is another message, so an old delivery
    must not be settled on the new channel.
    """

    broker: "DutifulBroker"

    def __init__(self, broker: "DutifulBroker", queue_name: str, prefetch: int, timeout: int) -> None:
        self.is_gone = False
        try:
            super().__init__(broker, queue_name, prefetch, timeout)  # type: ignore[no-untyped-call]
        except LINK_ERRORS as error:  # Dramatiq knows two of them
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]

    def __next__(self) -> Delivery | None:
        """The next message that an actor of this process can run; None when none came in time."""
        try:
            method, properties, body = next(self.iterator)
        except StopIteration:
            self.is_gone = True
            raise ConnectionClosed("RabbitMQ ended the consumer") from None  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001  pika also asserts, and an OSError may be the socket's
            self.is_gone = True
            if getattr(error, "reply_code", None) == 404:  # noqa: PLR2004  AMQP's NOT_FOUND
                self.broker.queues_pending.add(self.queue_name)
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        if method is None:
            return None
        tag = method.delivery_tag
        self.known_tags.add(tag)
        try:
            return self._admit(tag, method.redelivered, properties, body)
        except PublishError:
            self.logger.warning("A message could not be moved on; it is handed back.", exc_info=True)
            self._settle(tag, accepted=False)
            return None

    def _admit(self, tag: int, redelivered: bool, properties: Any, body: bytes) -> Delivery | None:
        try:
            message = envelope.decode(body, properties.headers or {})
        except ContractError as error:
            # Kept byte for byte: somebody will want to see what was sent.
            headers = dead_letters.headers("undecodable", error)
            kept = envelope.raw_properties(properties, headers)
            self.broker.send_to_dead_queue(self.queue_name, body, kept)
            self._settle(tag, accepted=True)
            return None
        delivery = Delivery(message, redelivered=redelivered, consumer=self, tag=tag)
        if self.broker.turn_away(delivery, self.queue_name):
            self._settle(tag, accepted=True)
            return None
        return delivery

    def ack(self, message: Any) -> None:
        """Settle a message as its attempt has decided: acknowledge it, or hand it back."""
        if message.consumer is not self or self.is_gone:
            self.logger.info("Message %s outlived its channel; RabbitMQ has given it out again.", message.message_id)
            return
        self._settle(message.tag, accepted=message.settled)

    nack = ack  # a failed job is a dead letter already: the copy in the dead queue is confirmed before this one goes

    def _settle(self, tag: int, *, accepted: bool) -> None:
        if tag not in self.known_tags:
            return
        self.known_tags.discard(tag)
        try:
            if accepted:
                self.connection.add_callback_threadsafe(partial(self.channel.basic_ack, tag))
            else:
                self.connection.add_callback_threadsafe(partial(self._hand_back_soon, tag))
        except Exception:  # noqa: BLE001  whatever it was, the link is gone and RabbitMQ gives the message out again
            self.is_gone = True

    def _hand_back_soon(self, tag: int) -> None:
        self.connection.call_later(_HAND_BACK_SECONDS, partial(self.channel.basic_nack, tag, requeue=True))

    def close(self) -> None:
        """Close the channel and its connection; what is not settled goes back to its queue."""
        self.is_gone = True
        super().close()  # type: ignore[no-untyped-call]
