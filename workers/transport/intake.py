"""The intake hands out messages from RabbitMQ while a thread is idle, and settles them where they came from."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import pika

from workers.transport.arrival import Arrival, Stream
from workers.transport.connection import Link

# What is handed back returns at once; this keeps a fault that lasts from spinning.
_HAND_BACK_SECONDS: Final = 1.0
# The latest that an acknowledgement leaves.
_FLUSH_SECONDS: Final = 0.002


class Subscription:
    """One queue of the intake.

    Attributes:
      is_urgent: tells from its properties that a message can't wait until a thread is idle.
      problem: why the broker ended it; it must be made anew.
    """

    def __init__(self, intake: "Intake", queue: str, prefetch: int, is_urgent: Callable[[Any], bool]) -> None:
        self.queue = queue
        self.prefetch = prefetch
        self.is_urgent = is_urgent
        self.problem: BaseException | None = None
        self.stream: Stream | None = None
        self.is_opening = False  # only the link's thread
        self.waiting: deque[Arrival] = deque()
        self.urgent: deque[Arrival] = deque()
        self.news = threading.Condition(intake.lock)
        self._intake = intake

    @property
    def is_connected(self) -> bool:
        """Whether messages can come."""
        return self.stream is not None and not self.stream.is_gone

    def take(self, seconds: float) -> Arrival | None:
        """The next message, once one is here that is urgent or a thread is idle; None when none is in time."""
        deadline = time.monotonic() + seconds
        with self.news:
            while self._intake.is_stopped or not (self.urgent or (self.waiting and self._intake.free > 0)):
                left = deadline - time.monotonic()
                if left <= 0 or self.problem is not None:
                    return None
                self.news.wait(left)
            self._intake.free -= 1
            return (self.urgent or self.waiting).popleft()

    def forget(self) -> list[Arrival]:
        """Hand none of those out that wait, and return them. Holds the lock."""
        forgotten = [*self.urgent, *self.waiting]
        self.urgent.clear()
        self.waiting.clear()
        return forgotten


class Intake:
    """Consumes any number of queues over one connection, with a channel for each.

    Parameters:
      hosts: as Link takes them.
      name: of the connection.
      threads: how many messages may be handed out and not yet settled.
    """

    def __init__(self, hosts: Sequence[Any], *, name: str, threads: int) -> None:
        self.lock = threading.Lock()
        self.free = threads
        self.stale_settlements = 0
        self._subscriptions: OrderedDict[str, Subscription] = OrderedDict()
        self._settled: deque[tuple[Arrival, bool]] = deque()
        self._flush_is_due = False
        self._started = False
        self.is_stopped = False
        self._connection: Any = None  # only the link's thread
        self.link = Link(hosts, name=name, opened=self._opened, lost=self._lost)

    def subscribe(self, queue: str, prefetch: int, is_urgent: Callable[[Any], bool] = lambda _: False) -> Subscription:
        """Begin to consume a queue that exists."""
        subscription = Subscription(self, queue, prefetch, is_urgent)
        with self.lock:
            self._subscriptions[queue] = subscription
            first, self._started = not self._started, True
        if first:
            self.link.start()
        self.link.call(partial(self._open_channel, subscription))
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; what it has not handed out goes back to its queue."""
        with self.lock:
            if self._subscriptions.get(subscription.queue) is subscription:
                del self._subscriptions[subscription.queue]
        self.link.call(partial(self._end, subscription))

    def settle(self, arrival: Arrival, *, accepted: bool) -> None:
        """Acknowledge a message, or hand it back. On a channel that is gone, nothing happens and it is counted."""
        with self.lock:
            self.free += 1
            self._tell_the_next()
            if arrival.stream.is_gone:
                self.stale_settlements += 1
                return
            self._settled.append((arrival, accepted))
            due, self._flush_is_due = not self._flush_is_due, True
        if due:
            self.link.call(self._flush)

    def stop(self) -> None:
        """Fetch no more, and hand back at once what waits here. What was handed out can still be settled."""
        with self.lock:
            self.is_stopped = True  # now: what is settled from here on makes room for nothing
        self.link.call(self._stop)

    def close(self) -> None:
        """Settle what is settled, then close the connection."""
        self.link.call(self._flush)
        self.link.close()

    def _tell_the_next(self) -> None:
        """Wake one queue that has something, in turn, so that none starves another. Holds the lock."""
        for queue, subscription in self._subscriptions.items():
            if subscription.waiting:
                self._subscriptions.move_to_end(queue)
                subscription.news.notify()
                return

    # From here on, everything runs on the link's thread.

    def _opened(self, connection: Any) -> None:
        self._connection = connection
        with self.lock:
            subscriptions = list(self._subscriptions.values())
        for subscription in subscriptions:
            self._open_channel(subscription)

    def _lost(self, _reason: BaseException) -> None:
        self._connection = None
        with self.lock:
            for subscription in self._subscriptions.values():
                subscription.is_opening = False
                self._abandon(subscription)

    def _open_channel(self, subscription: Subscription) -> None:
        if self._connection is None or not self._connection.is_open or self.is_stopped or subscription.is_connected:
            return  # when the connection opens, it is opened with it
        if subscription.is_opening:
            return  # the connection opened between subscribing and this call
        subscription.stream, subscription.is_opening = None, True
        self._connection.channel(on_open_callback=partial(self._channel_opened, subscription))

    def _channel_opened(self, subscription: Subscription, channel: Any) -> None:
        subscription.is_opening = False
        stream = subscription.stream = Stream(channel)
        channel.add_on_close_callback(partial(self._channel_closed, subscription, stream))
        # A queue that was deleted, or its leader lost: the broker ends the consumer, and not the channel.
        channel.add_on_cancel_callback(lambda frame: channel.close(320, f"consumer canceled: {frame}"))
        channel.basic_qos(prefetch_count=subscription.prefetch)
        channel.basic_consume(subscription.queue, partial(self._arrived, subscription, stream))

    def _channel_closed(self, subscription: Subscription, stream: Stream, _channel: Any, reason: BaseException) -> None:
        with self.lock:
            stream.is_gone = True
            if subscription.stream is stream:
                self._abandon(subscription)
                # With its connection lost, it is opened again with the next one.
                if isinstance(reason, pika.exceptions.ChannelClosed) and not self.is_stopped:
                    subscription.problem = reason
                    subscription.news.notify_all()

    def _abandon(self, subscription: Subscription) -> None:
        """Drop what a dead channel had delivered and nobody has begun. Holds the lock."""
        if subscription.stream is not None:
            subscription.stream.is_gone = True
        subscription.forget()

    def _arrived(
        self, subscription: Subscription, stream: Stream, _channel: Any, method: Any, properties: Any, body: bytes
    ) -> None:
        stream.open[method.delivery_tag] = None
        arrival = Arrival(stream, method.delivery_tag, method.redelivered, properties, body)
        is_urgent = subscription.is_urgent(properties)
        with self.lock:
            (subscription.urgent if is_urgent else subscription.waiting).append(arrival)
            if is_urgent or self.free > 0:
                subscription.news.notify()

    def _flush(self) -> None:
        with self.lock:
            settled, self._settled = self._settled, deque()
            # While there is something at every look, nobody has to wake this thread for it.
            self._flush_is_due = bool(settled)
        if settled:
            self.link.later(_FLUSH_SECONDS, self._flush)
        accepted: dict[Stream, list[int]] = {}
        for arrival, is_accepted in settled:
            stream = arrival.stream
            if stream.is_gone or arrival.tag not in stream.open:
                continue
            if is_accepted:
                del stream.open[arrival.tag]
                accepted.setdefault(stream, []).append(arrival.tag)
            elif self.is_stopped:
                self._hand_back(stream, arrival.tag)  # it can't come again to this process
            else:
                self.link.later(_HAND_BACK_SECONDS, partial(self._hand_back, stream, arrival.tag))
        for stream, tags in accepted.items():
            self._acknowledge(stream, tags)

    def _acknowledge(self, stream: Stream, tags: list[int]) -> None:
        """Acknowledge tags, with one frame for all of those below which nothing is open."""
        lowest = next(iter(stream.open), None)
        below = [tag for tag in tags if lowest is None or tag < lowest]
        if below:
            stream.channel.basic_ack(max(below), multiple=True)
        for tag in tags:
            if lowest is not None and tag > lowest:
                stream.channel.basic_ack(tag)

    def _hand_back(self, stream: Stream, tag: int) -> None:
        if not stream.is_gone and tag in stream.open:
            del stream.open[tag]
            stream.channel.basic_nack(tag, requeue=True)

    def _end(self, subscription: Subscription) -> None:
        stream = subscription.stream
        if stream is not None and not stream.is_gone and stream.channel.is_open:
            self._flush()
            stream.channel.close()

    def _stop(self) -> None:
        with self.lock:
            waiting = [arrival for subscription in self._subscriptions.values() for arrival in subscription.forget()]
            streams = [each.stream for each in self._subscriptions.values() if each.stream is not None]
        for stream in streams:
            if not stream.is_gone and stream.channel.is_open:
                for consumer in stream.channel.consumer_tags:
                    stream.channel.basic_cancel(consumer)
        for arrival in waiting:
            self._hand_back(arrival.stream, arrival.tag)
