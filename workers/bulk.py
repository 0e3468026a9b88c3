"""Bulk sending has many messages on their way at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from dramatiq import Message
from dramatiq.common import q_name
from pika import exceptions as amqp

from workers.errors import BrokerUnreachable, DutifulError, PublishError, QueueMissing
from workers.event_loop import refuse_to_block_an_event_loop
from workers.job_broker import JobBroker
from workers.sending import Sending
from workers.transport import topology
from workers.transport.post import Post

_BATCH: Final = 64
_WINDOW: Final = 2_000
_STRETCH: Final = 500


class BulkSending(Sending):
    """The part of the broker that sends many messages: no one waits for the confirm of the one before."""

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
                JobBroker.refuse(self, message)  # its size is that of the body which is made next
                self.emit_before("enqueue", message, delay)  # it may write into the message
                post = self.post(message, delay)
                self.refuse_too_large(message.actor_name, len(post.body))
                self._ensure_before_publishing(q_name(message.queue_name))
                posts.append(post)
            self._hand_over(posts)
            window.extend(zip(batch, posts, strict=True))
            if len(window) > _WINDOW:
                confirmed += self._confirm_oldest(window, _STRETCH, delay)
            if progress is not None:
                progress(confirmed)
        confirmed += self._confirm_oldest(window, len(window), delay)
        if progress is not None:
            progress(confirmed)
        return confirmed

    def publish_each(
        self, messages: Sequence[tuple[Message[Any], int | None]], *, limited: bool = True
    ) -> list[DutifulError | None]:
        """Send messages, each with its delay in milliseconds, and say of each how it went: None, or its error.

        One that fails stops no other. A queue that no actor here reads is not declared: it must be there.

        Parameters:
          messages: what to send.
          limited: they come from senders. What a job here has sent was measured when it was accepted.
        """
        refuse_to_block_an_event_loop()
        results: list[DutifulError | None] = [None] * len(messages)
        posts: dict[int, Post] = {}
        unreachable: BrokerUnreachable | None = None
        for place, (message, delay) in enumerate(messages):
            if unreachable is not None:
                results[place] = unreachable
                continue
            try:
                self.emit_before("enqueue", message, delay)
                self._find_queue(q_name(message.queue_name), delay)
                posts[place] = self.post(message, delay)
                if limited:
                    self.refuse_too_large(message.actor_name, len(posts[place].body))
            except BrokerUnreachable as error:  # waiting as long for the next would not help
                unreachable = results[place] = error
            except DutifulError as error:
                results[place] = error
        self._hand_over(posts.values())
        for place, post in posts.items():
            results[place] = self._confirm(*messages[place], post)
        return results

    def _confirm(self, message: Message[Any], delay: int | None, post: Post) -> DutifulError | None:
        queue = q_name(message.queue_name)
        try:
            try:
                self._wait(post)
            except QueueMissing:
                if queue not in self.queues:
                    raise
                self._send_again(queue, post)
        except PublishError as error:
            return error
        self.emit_after("enqueue", message, delay)
        return None

    def _find_queue(self, queue: str, delay: int | None) -> None:
        """Make sure of the queue before; without a delay, RabbitMQ itself tells when another's is missing."""
        if queue in self.queues:
            self._ensure_before_publishing(queue)
        elif delay:
            try:
                self.publisher.ask(partial(topology.look, queue), self.publish_timeout_seconds)
            except amqp.ChannelClosedByBroker as error:
                raise QueueMissing("there is no such queue", expected="a queue", received=queue) from error
            except (amqp.AMQPError, TimeoutError, OSError) as error:
                raise self.publisher.unreachable() from error

    def _confirm_oldest(self, window: deque[tuple[Message[Any], Post]], count: int, delay: int | None) -> int:
        """Wait for so many, first for the last of them: this thread then wakes up once, and not for each."""
        if count:
            window[count - 1][1].is_answered(self.publish_timeout_seconds + 1)
        for _ in range(count):
            message, post = window.popleft()
            try:
                self._wait(post)
            except QueueMissing:
                self._send_again(q_name(message.queue_name), post)
            except PublishError as error:
                error.message = message
                raise
            self.emit_after("enqueue", message, delay)
        return count


def _batches(messages: Iterable[Message[Any]]) -> Iterator[list[Message[Any]]]:
    left = iter(messages)
    while batch := list(islice(left, _BATCH)):
        yield batch
