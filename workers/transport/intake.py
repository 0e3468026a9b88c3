"""The intake hands out messages from RabbitMQ while a thread is idle, and settles them where they came from."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import pika

from workers.transport.arrival import Arrival, Stream
from workers.transport.connection import Link
from workers.transport.subscription import Depth, Room, Subscription

# What is handed back returns at once; this keeps a fault that lasts from spinning.
_HAND_BACK_SECONDS: Final = 1.0
# The latest that an acknowledgement leaves.
_FLUSH_SECONDS: Final = 0.002


class Intake:
    """Consumes any number of queues over one connection, with a channel for each.

    Parameters:
      hosts: as Link takes them.
      name: of the connection.
      threads: how many jobs run at once.
    """

    def __init__(self, hosts: Sequence[Any], *, name: str, threads: int) -> None:
        self.lock = threading.Lock()
        self.threads = threads
        self.stale_settlements = 0
        self._shared = Room(threads)
        self._subscriptions: OrderedDict[str, Subscription] = OrderedDict()
        self._settled: deque[tuple[Arrival, bool]] = deque()
        self._flush_is_due = False
        self._started = False
        self.is_stopped = False
        self._connection: Any = None  # only the link's thread
        self.link = Link(hosts, name=name, opened=self._opened, lost=self._lost)

    def subscribe(
        self, queue: str, *, short: bool = False, is_urgent: Callable[[Any], bool] = lambda _: False
    ) -> Subscription:
        """Begin to consume a queue that exists.

        Parameters:
          short: its jobs are short, so that many are fetched ahead.
          is_urgent: tells from its properties that a message can't wait until a thread is idle.
        """
        depth = Depth.of(self.threads, short=short)
        room = self._shared if depth.is_shared else Room(depth.handed_out)
        subscription = Subscription(self.lock, queue, depth, room, is_urgent)
        subscription.is_held_up = self.is_stopped
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
        subscription = arrival.stream.subscription
        with self.lock:
            subscription.room.taken -= 1
            if not subscription.depth.is_shared:
                self._tell(subscription)
            elif self._subscriptions:
                self._tell_the_next()
            if arrival.stream.is_gone:
                self.stale_settlements += 1
                return
            self._settled.append((arrival, accepted))
            due, self._flush_is_due = not self._flush_is_due, True
        if due:
            self.link.call(self._flush)

    def widen(self, arrival: Arrival) -> None:
        """Hand out one more than before: what has this one won't be idle again, and another thread is."""
        with self.lock:
            arrival.stream.subscription.room.limit += 1
            self._tell_the_next()

    def stop(self) -> None:
        """Fetch no more, and hand back at once what waits here. What was handed out can still be settled."""
        with self.lock:
            self.is_stopped = True  # now: what is settled from here on makes room for nothing
            for subscription in self._subscriptions.values():
                subscription.is_held_up = True
        self.link.call(self._stop)

    def close(self) -> None:
        """Settle what is settled, then close the connection."""
        self.link.call(self._flush)
        self.link.close()

    def _tell(self, subscription: Subscription) -> bool:
        """Wake who waits for this queue, if there is something. Holds the lock."""
        if not subscription.has_something:
            return False
        subscription.news.notify()
        return True

    def _tell_the_next(self) -> None:
        """Wake one queue that has something, in turn, so that none starves another. Holds the lock."""
        for queue, subscription in self._subscriptions.items():
            if subscription.depth.is_shared and self._tell(subscription):
                self._subscriptions.move_to_end(queue)
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
        stream = subscription.stream = Stream(channel, subscription)
        channel.add_on_close_callback(partial(self._channel_closed, subscription, stream))
        # A queue that was deleted, or its leader lost: the broker ends the consumer, and not the channel.
        channel.add_on_cancel_callback(lambda frame: channel.close(320, f"consumer canceled: {frame}"))
        channel.basic_qos(prefetch_count=subscription.depth.fetched)
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
            self._tell(subscription)

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
