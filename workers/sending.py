"""Sending publishes messages over our transport: each has a deadline, and none waits for the confirm of another."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import pika
from dramatiq import Message
from dramatiq.common import q_name
from dramatiq.errors import ConnectionClosed

from workers import envelope
from workers.delivery import Carried, Delivery
from workers.errors import ContractError, PublishError, PublishUnconfirmed, QueueMissing
from workers.job_broker import JobBroker, refuse_to_block_an_event_loop
from workers.transport import topology
from workers.transport.post import Post
from workers.transport.publisher import Publisher

_BATCH: Final = 64
_WINDOW: Final = 2_000


class Sending(JobBroker):
    """The publishing half of the broker.

    Attributes:
      max_message_bytes: a larger message is refused.
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

    def send_to_queue(self, message: Carried, delay: int | None) -> None:
        """Publish a message, and return when a quorum of disks has it.

        Raises:
          ContractError: it is too large, or the delay too long.
          PublishError: it was not, or perhaps not, taken; the kind of error says which.
        """
        try:
            self._send(q_name(message.queue_name), self._post(message, delay))
        except PublishError as error:
            error.message = message
            raise

    def enqueue_many(
        self,
        messages: Iterable[Message[Any]],
        *,
        delay: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """As JobBroker says; thousands a second, because no message waits for the confirm of the one before."""
        refuse_to_block_an_event_loop()
        window: deque[tuple[Message[Any], Post]] = deque()
        confirmed = 0
        for batch in _batches(messages):
            posts = []
            for message in batch:
                self.emit_before("enqueue", message, delay)
                self._ensure_before_publishing(q_name(message.queue_name))
                posts.append(self._post(message, delay))
            self.publisher.publish(posts)
            window.extend(zip(batch, posts, strict=True))
            while len(window) > _WINDOW:
                confirmed += self._confirm_oldest(window, delay)
            if progress is not None:
                progress(confirmed)
        while window:
            confirmed += self._confirm_oldest(window, delay)
        if progress is not None:
            progress(confirmed)
        return confirmed

    def _confirm_oldest(self, window: deque[tuple[Message[Any], Post]], delay: int | None) -> int:
        message, post = window.popleft()
        try:
            self._wait(post)
        except QueueMissing:
            self._send_again(q_name(message.queue_name), post)
        except PublishError as error:
            error.message = message
            raise
        self.emit_after("enqueue", message, delay)
        return 1

    def bury(self, message: Carried, headers: Mapping[str, Any]) -> None:
        """Put a job among the dead letters of its queue, with its body as it came."""
        came = message.arrival if isinstance(message, Delivery) else None
        body = came.body if came is not None else envelope.body(message)
        self.send_to_dead_queue(q_name(message.queue_name), body, envelope.properties(message, extra=headers))

    def send_to_dead_queue(self, queue: str, body: bytes, properties: pika.BasicProperties) -> None:
        """Publish a dead letter; the same errors as send_to_queue."""
        # Through the default exchange, so that who may write to dutiful.jobs can't write dead letters.
        self._send(queue, Post("", topology.dead_queue(queue), body, properties, self._deadline()))

    def _post(self, message: Carried, delay: int | None) -> Post:
        body = envelope.body(message)
        if len(body) > self.max_message_bytes:
            raise ContractError(
                f"a message for {message.actor_name} is too large",
                expected=f"at most {self.max_message_bytes} bytes: send a reference instead of the data",
                received=f"{len(body)} bytes",
            )
        queue = q_name(message.queue_name)
        exchange, key = topology.delay_route(delay, queue) if delay and delay > 0 else (topology.JOBS, queue)
        actor = self.actors.get(message.actor_name)
        repeatable = getattr(actor, "key", "") is not None  # with key=None, a second copy would be a second job
        return Post(exchange, key, body, envelope.properties(message), self._deadline(), repeatable)

    def _deadline(self) -> float:
        return time.monotonic() + self.publish_timeout_seconds

    def _send(self, queue: str, post: Post) -> None:
        self._ensure_before_publishing(queue)
        self.publisher.publish([post])
        try:
            self._wait(post)
        except QueueMissing:
            self._send_again(queue, post)

    def _send_again(self, queue: str, post: Post) -> None:
        """The queue, or everything in the vhost, was deleted behind us: declare it, and publish once more."""
        self._vhost_declared = False
        self.queues_pending.add(queue)
        self._ensure_before_publishing(queue)
        again = Post(post.exchange, post.routing_key, post.body, post.properties, self._deadline(), post.repeatable)
        self.publisher.publish([again])
        self._wait(again)

    def _wait(self, post: Post) -> None:
        try:
            post.result.result(self.publish_timeout_seconds + 1)
        except TimeoutError:
            raise PublishUnconfirmed("the publishing thread did not answer", expected="an answer in time") from None

    def _ensure_before_publishing(self, queue: str) -> None:
        if queue not in self.queues:
            self.declare_queue(queue)
        if queue in self.queues_pending:
            try:
                self._ensure_queue(queue, self.publish_timeout_seconds)
            except ConnectionClosed as error:
                raise self.publisher.unreachable() from error


def _batches(messages: Iterable[Message[Any]]) -> Iterator[list[Message[Any]]]:
    left = iter(messages)
    while batch := list(islice(left, _BATCH)):
        yield batch
