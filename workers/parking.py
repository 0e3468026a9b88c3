"""Parking keeps the messages of a paused actor in a queue of their own, and brings them back."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pika
from pika import exceptions as amqp

from workers import envelope
from workers.asking import Asking
from workers.delivery import Delivery
from workers.errors import BrokerUnreachable, QueueMissing
from workers.transport import topology
from workers.transport.intake import Intake
from workers.transport.post import Post

_AT_ONCE: Final = 100
_HEARTBEAT_SECONDS: Final = 60  # nothing is said while a batch waits for its confirms
_NOT_FOUND: Final = 404


class Parking(Asking):
    """The part of the broker that obeys pauses.

    A paused queue is not consumed. A paused actor's messages are moved to `dutiful.parked.<actor>` as they come, each
    confirmed before it is settled, and moved back when the pause has ended. Neither spends an attempt.

    Attributes:
      paused_queues, paused_actors: by name.
    """

    paused_queues: frozenset[str] = frozenset()
    paused_actors: frozenset[str] = frozenset()
    _hosts: list[Any]

    @property
    def intake(self) -> Intake:
        """This process's consuming connection."""
        raise NotImplementedError

    def pause(self, queues: frozenset[str], actors: frozenset[str]) -> None:
        """Let these be paused from now on, and no others."""
        self.paused_queues, self.paused_actors = queues, actors
        self.intake.pause(queues)

    def turn_away(self, delivery: Delivery, queue: str) -> bool:
        """As JobBroker says, and park what is for a paused actor."""
        if super().turn_away(delivery, queue):
            return True
        if delivery.actor_name not in self.paused_actors:
            return False
        self._park(delivery)
        return True

    def parked(self, actor: str) -> int:
        """How many messages of an actor are parked.

        Raises:
          BrokerUnreachable: there is no connection.
        """
        try:
            answer = self.publisher.ask(
                partial(topology.look, topology.parked_queue(actor)), self.publish_timeout_seconds
            )
        except amqp.ChannelClosedByBroker as error:
            if error.reply_code == _NOT_FOUND:
                return 0
            raise
        except (amqp.AMQPError, TimeoutError, OSError) as error:
            raise self.publisher.unreachable() from error
        count: int = answer.method.message_count
        return count

    def bring_back(self, actor: str, is_wanted: Callable[[], bool]) -> int:
        """Move what is parked back to its queues, a hundred at a time, each confirmed before it leaves.

        Any number of processes may do so at once.

        Parameters:
          is_wanted: asked before each hundred.

        Returns:
          how many were moved.

        Raises:
          BrokerUnreachable: the connection was lost; what was not moved stays.
          PublishError: one could not be moved; it stays.
        """
        moved = 0
        try:
            with pika.BlockingConnection([_patient(host) for host in self._hosts]) as connection:
                channel = connection.channel()
                while is_wanted() and (some := self._bring_some(channel, topology.parked_queue(actor))):
                    moved += some
        except (amqp.AMQPError, OSError) as error:
            raise BrokerUnreachable(
                f"what is parked for {actor} could not be brought back", expected="a connection", received=repr(error)
            ) from error
        return moved

    def _park(self, delivery: Delivery) -> None:
        queue = topology.parked_queue(delivery.actor_name)
        assert delivery.arrival is not None  # noqa: S101  narrows the type
        body, properties = delivery.arrival.body, envelope.properties(delivery)
        try:
            self._put(Post("", queue, body, properties, self._deadline()))
        except QueueMissing:
            self.ask(lambda channel, answer: topology.declare_parked(channel, delivery.actor_name, callback=answer))
            self._put(Post("", queue, body, properties, self._deadline()))

    def _bring_some(self, channel: Any, queue: str) -> int:
        taken: list[tuple[int, Post]] = []
        while len(taken) < _AT_ONCE and (got := channel.basic_get(queue))[0] is not None:
            method, properties, body = got
            taken.append((method.delivery_tag, self.post(envelope.decode(body, properties.headers or {}))))
        self.publisher.publish([post for _, post in taken])
        for tag, post in taken:
            self._wait(post)
            channel.basic_ack(tag)
        return len(taken)

    def _put(self, post: Post) -> None:
        self.publisher.publish([post])
        self._wait(post)


def _patient(host: Any) -> Any:
    patient = copy.copy(host)
    patient.heartbeat = _HEARTBEAT_SECONDS
    return patient
