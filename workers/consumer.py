"""The consumer admits messages to Dramatiq's worker, and settles them as their attempt has decided."""

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from dramatiq import Consumer
from dramatiq.errors import ConnectionClosed
from dramatiq.logging import get_logger
from dramatiq.worker import ConsumerThread

from workers import envelope, post_mortem
from workers.admission import Admission
from workers.delivery import Delivery, Reason
from workers.errors import ContractError, PublishError
from workers.transport import topology
from workers.transport.arrival import Arrival

if TYPE_CHECKING:
    from workers.rabbitmq import DutifulBroker

# Before RabbitMQ 4.3 a hand-back counts as a delivery, and at the limit the broker makes a dead letter of the message.
_RENEW_AT: Final = topology.DELIVERY_LIMIT // 2


class RabbitmqConsumer(Consumer):
    """One queue, as Dramatiq's worker sees it. It outlives connections: those come and go inside.

    Messages are admitted many at a time, so that they can share what each would cost alone.
    """

    def __init__(self, broker: "DutifulBroker", queue_name: str, _prefetch: int, timeout: int) -> None:
        # Dramatiq's one prefetch count for all queues is of no use: each queue has its depth.
        self.broker = broker
        self.queue_name = queue_name
        self.seconds = timeout / 1000
        self.logger = get_logger(__name__, type(self))  # type: ignore[no-untyped-call]
        self.admission = Admission(broker)
        thread = threading.current_thread()
        if isinstance(thread, ConsumerThread):
            # RabbitMQ keeps the delays, so there is nothing to look through behind each message.
            setattr(thread, ConsumerThread.handle_delayed_messages.__name__, _do_nothing)
        # What must be renewed can't wait until a thread is idle: handed back often enough, it would be a dead letter.
        short = broker.is_short(queue_name)
        self.subscription = broker.intake.subscribe(queue_name, short=short, is_urgent=_must_be_renewed)

    @property
    def is_gone(self) -> bool:
        """Whether nothing can come now."""
        return not self.subscription.is_connected

    def __next__(self) -> Delivery | None:
        """The next message that an actor of this process can run; None when none came in time."""
        ready = self.admission.ready
        if self.broker.is_stopping:
            # These were on their way to the threads, which end now; one may still be busy for long.
            self.requeue(self.admission.withdraw())
            self.broker.hand_back_what_waits()
        if not ready:
            if self.subscription.problem is not None:
                # The queue is gone, or was made with other arguments: Dramatiq makes a new consumer, which declares it.
                self.broker.queues_pending.add(self.queue_name)
                raise ConnectionClosed(self.subscription.problem)  # type: ignore[no-untyped-call]
            arrivals = self.subscription.take(self.admission.wait(self.seconds))
            self.admission.admit([each for each in map(self._admit, arrivals) if each is not None])
        return ready.popleft() if ready else None

    def _admit(self, arrival: Arrival) -> Delivery | None:
        """The delivery, or None when the message has been dealt with."""
        try:
            delivery = self._read(arrival)
        except Exception as error:
            unforeseen = not isinstance(error, PublishError)
            self.logger.warning("A message could not be moved on; it is handed back: %s", error, exc_info=unforeseen)
            self.broker.intake.settle(arrival, accepted=False)
            return None
        if delivery is None:
            self.broker.intake.settle(arrival, accepted=True)
        return delivery

    def _read(self, arrival: Arrival) -> Delivery | None:
        """The delivery, or None when the message has been moved on to where it belongs."""
        properties = arrival.properties
        headers = properties.headers or {}
        reason: Reason = "contract"
        try:
            if properties.app_id != envelope.APP_ID:  # what we send was looked at, and what follows from it may grow
                self.broker.refuse_too_large(properties.type or self.queue_name, len(arrival.body))
            reason = "undecodable"
            message = envelope.decode(arrival.body, headers)
        except ContractError as error:
            # Kept byte for byte: somebody will want to see what was sent.
            kept = envelope.raw_properties(properties, post_mortem.unreadable(error, headers, reason))
            self.broker.send_to_dead_queue(self.queue_name, arrival.body, kept)
            return None
        delivery = Delivery(message, redelivered=arrival.redelivered, arrival=arrival, consumer=self)
        if self.broker.turn_away(delivery, self.queue_name):
            return None
        if headers and _must_be_renewed(properties):
            delivery.options["deliveries"] = delivery.options.get("deliveries", 0) + headers["x-delivery-count"]
            self.broker.send_to_queue(delivery, None)  # a fresh copy, counted from 0
            return None
        return delivery

    def ack(self, message: Any) -> None:
        """Dramatiq is done with a message, whatever came of it: a failed job is a dead letter already."""
        self.broker.conclude(message)

    nack = ack

    def requeue(self, messages: Iterable[Any]) -> None:
        """Dramatiq has not begun these."""
        for message in messages:
            self.broker.conclude(message)

    def settle(self, delivery: Delivery) -> None:
        """Acknowledge a message, or hand it back, as its attempt has decided."""
        assert delivery.arrival is not None  # noqa: S101  narrows the type
        self.broker.intake.settle(delivery.arrival, accepted=delivery.settled)

    def widen(self, delivery: Delivery) -> None:
        """Hand out one more: the thread that has this one is stuck, and another has taken its place."""
        assert delivery.arrival is not None  # noqa: S101  narrows the type
        delivery.arrival.stream.subscription.widen()

    def close(self) -> None:
        """End the subscription; what is not settled goes back to its queue."""
        self.requeue(self.admission.withdraw())
        self.broker.intake.unsubscribe(self.subscription)


def _do_nothing() -> None:
    pass


def _must_be_renewed(properties: Any) -> bool:
    deliveries = (properties.headers or {}).get("x-delivery-count", 0)
    return isinstance(deliveries, int) and deliveries >= _RENEW_AT
