"""The consumer admits messages to Dramatiq's worker, and settles them as their attempt has decided."""

from typing import TYPE_CHECKING, Any, Final

from dramatiq import Consumer
from dramatiq.errors import ConnectionClosed
from dramatiq.logging import get_logger

from workers import dead_letters, envelope
from workers.delivery import Delivery
from workers.errors import ContractError, PublishError
from workers.transport import topology
from workers.transport.arrival import Arrival

if TYPE_CHECKING:
    from workers.rabbitmq import DutifulBroker

# Before RabbitMQ 4.3 a hand-back counts as a delivery, and at the limit the broker makes a dead letter of the message.
_RENEW_AT: Final = topology.DELIVERY_LIMIT // 2


class RabbitmqConsumer(Consumer):
    """One queue, as Dramatiq's worker sees it. It outlives connections: those come and go inside."""

    def __init__(self, broker: "DutifulBroker", queue_name: str, prefetch: int, timeout: int) -> None:
        self.broker = broker
        self.queue_name = queue_name
        self.seconds = timeout / 1000
        self.logger = get_logger(__name__, type(self))  # type: ignore[no-untyped-call]
        # What must be renewed can't wait until a thread is idle: handed back often enough, it would be a dead letter.
        self.subscription = broker.intake.subscribe(queue_name, prefetch, _must_be_renewed)

    @property
    def is_gone(self) -> bool:
        """Whether nothing can come now."""
        return not self.subscription.is_connected

    def __next__(self) -> Delivery | None:
        """The next message that an actor of this process can run; None when none came in time."""
        if self.subscription.problem is not None:
            # The queue is gone, or was made with other arguments: Dramatiq makes a new consumer, which declares it.
            self.broker.queues_pending.add(self.queue_name)
            raise ConnectionClosed(self.subscription.problem)  # type: ignore[no-untyped-call]
        arrival = self.subscription.take(self.seconds)
        if arrival is None:
            return None
        try:
            delivery = self._admit(arrival)
        except PublishError:
            self.logger.warning("A message could not be moved on; it is handed back.", exc_info=True)
            self.broker.intake.settle(arrival, accepted=False)
            return None
        if delivery is None:
            self.broker.intake.settle(arrival, accepted=True)
        return delivery

    def _admit(self, arrival: Arrival) -> Delivery | None:
        """The delivery, or None when the message has been moved on to where it belongs."""
        properties = arrival.properties
        headers = properties.headers or {}
        try:
            message = envelope.decode(arrival.body, headers)
        except ContractError as error:
            # Kept byte for byte: somebody will want to see what was sent.
            kept = envelope.raw_properties(properties, dead_letters.headers("undecodable", error))
            self.broker.send_to_dead_queue(self.queue_name, arrival.body, kept)
            return None
        delivery = Delivery(message, redelivered=arrival.redelivered, arrival=arrival, consumer=self)
        if self.broker.turn_away(delivery, self.queue_name):
            return None
        if _must_be_renewed(properties):
            delivery.options["deliveries"] = delivery.options.get("deliveries", 0) + headers["x-delivery-count"]
            self.broker.send_to_queue(delivery, None)  # a fresh copy, counted from 0
            return None
        return delivery

    def ack(self, message: Any) -> None:
        """Settle a message as its attempt has decided: acknowledge it, or hand it back."""
        self.broker.intake.settle(message.arrival, accepted=message.settled)

    nack = ack  # a failed job is a dead letter already: the copy in the dead queue is confirmed before this one goes

    def close(self) -> None:
        """End the subscription; what is not settled goes back to its queue."""
        self.broker.intake.unsubscribe(self.subscription)


def _must_be_renewed(properties: Any) -> bool:
    deliveries = (properties.headers or {}).get("x-delivery-count", 0)
    return isinstance(deliveries, int) and deliveries >= _RENEW_AT
