"""Sending publishes messages over our transport: each has a deadline, and none waits for the confirm of another."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import pika
from dramatiq import Message
from dramatiq.common import q_name
from dramatiq.errors import ConnectionClosed

from workers import envelope
from workers.current import running_job
from workers.delivery import Carried, Delivery
from workers.errors import ContractError, PublishError, QueueMissing
from workers.job_broker import JobBroker
from workers.transport import topology
from workers.transport.post import Post
from workers.transport.publisher import Publisher


class Sending(JobBroker):
    """The publishing half of the broker.

    Attributes:
      max_message_bytes: a larger message is refused when it is sent.
      publish_timeout_seconds: by when a message must be confirmed.
    """

    max_message_bytes: int
    publish_timeout_seconds: float
    queues_pending: set[str]
    _vhost_declared: bool

    @property
    def publisher(self) -> Publisher:
        """This process's publishing connection."""
        raise NotImplementedError

    def _ensure_queue(self, canonical_queue_name: str, seconds: float) -> None:
        raise NotImplementedError

    def refuse(self, message: Message[Any]) -> None:
        """As JobBroker says, and what is too large. What was accepted once may grow: a retry carries more."""
        super().refuse(message)
        self.refuse_too_large(message.actor_name, len(envelope.body(message)))

    def refuse_too_large(self, receiver: str, size: int) -> None:
        """Compare a body's size in bytes with the limit.

        Raises:
          ContractError: it is larger.
        """
        if size > self.max_message_bytes:
            limit = f"{self.max_message_bytes} bytes (DUTIFUL_RABBITMQ__MAX_MESSAGE_BYTES)"
            raise ContractError(
                f"a message for {receiver} is too large",
                expected=f"at most {limit}: send a reference instead of the data",
                received=f"{size} bytes",
            )

    def send_to_queue(self, message: Carried, delay: int | None) -> None:
        """Publish a message, and return when a quorum of disks has it.

        Raises:
          ContractError: the delay is too long.
          PublishError: it was not, or perhaps not, taken; the kind of error says which.
        """
        try:
            self._send(q_name(message.queue_name), self.post(message, delay))
        except PublishError as error:
            error.message = message
            raise

    def bury(self, message: Carried, headers: Mapping[str, Any]) -> None:
        """Put a job among the dead letters of its queue, with its body as it came."""
        came = message.arrival if isinstance(message, Delivery) else None
        body = came.body if came is not None else envelope.body(message)
        self.send_to_dead_queue(q_name(message.queue_name), body, envelope.properties(message, extra=headers))

    def send_to_dead_queue(self, queue: str, body: bytes, properties: pika.BasicProperties) -> None:
        """Publish a dead letter; the same errors as send_to_queue."""
        self._send(queue, self._dead_letter(queue, body, properties))

    def post(self, message: Carried, delay: int | None = None, *, dead: Mapping[str, Any] | None = None) -> Post:
        """What is published for a message.

        Parameters:
          message: the message.
          delay: milliseconds.
          dead: for a dead letter, what it says of itself.

        Raises:
          ContractError: the delay is too long.
        """
        queue, body = q_name(message.queue_name), envelope.body(message)
        if dead is not None:
            return self._dead_letter(queue, body, envelope.properties(message, extra=dead))
        exchange, key = topology.delay_route(delay, queue) if delay and delay > 0 else (topology.JOBS, queue)
        actor = self.actors.get(message.actor_name)
        repeatable = getattr(actor, "key", "") is not None  # with key=None, a second copy would be a second job
        return Post(exchange, key, body, envelope.properties(message), self._deadline(), repeatable)

    def _dead_letter(self, queue: str, body: bytes, properties: pika.BasicProperties) -> Post:
        # Through the default exchange, so that who may write to dutiful.jobs can't write dead letters.
        return Post("", topology.dead_queue(queue), body, properties, self._deadline())

    def _deadline(self) -> float:
        return time.monotonic() + self.publish_timeout_seconds

    def _send(self, queue: str, post: Post) -> None:
        self._ensure_before_publishing(queue)
        self._hand_over([post])
        try:
            self._wait(post)
        except QueueMissing:
            self._send_again(queue, post)

    def _hand_over(self, posts: Iterable[Post]) -> None:
        self.publisher.publish(posts, interruptible=running_job() is not None)

    def _send_again(self, queue: str, post: Post) -> None:
        """The queue, or everything in the vhost, was deleted behind us: declare it, and publish once more."""
        self._vhost_declared = False
        self.queues_pending.add(queue)
        self._ensure_before_publishing(queue)
        again = Post(post.exchange, post.routing_key, post.body, post.properties, self._deadline(), post.repeatable)
        self._hand_over([again])
        self._wait(again)

    def _wait(self, post: Post) -> None:
        try:
            post.wait(self.publish_timeout_seconds + 1)
        except QueueMissing:
            raise  # RabbitMQ is well, and mostly it is declared and sent again
        except PublishError:
            _count_failure()
            raise

    def _ensure_before_publishing(self, queue: str) -> None:
        if queue not in self.queues:
            self.declare_queue(queue)
        if queue in self.queues_pending:
            try:
                self._ensure_queue(queue, self.publish_timeout_seconds)
            except ConnectionClosed as error:
                _count_failure()
                raise self.publisher.unreachable() from error


def _count_failure() -> None:
    from workers import metrics  # noqa: PLC0415  not before share()

    metrics.broker_errors.labels("send").inc()
