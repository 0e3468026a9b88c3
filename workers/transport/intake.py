"""The intake hands out messages from RabbitMQ while a thread is idle, and settles them where they came from."""

import threading
from collections import Counter, OrderedDict, deque
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
        self._paused: frozenset[str] = frozenset()
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
        with self.lock:
            subscription.is_held_up = self.is_stopped or queue in self._paused
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
        # No lock where jobs are short: eight threads would soon do nothing but hand it to each other.
        self._settled.append((arrival, accepted))
        subscription = arrival.stream.subscription
        if subscription.depth.is_shared:
            with self.lock:
                subscription.room.taken -= 1
                self._tell_the_next()
        if not self._flush_is_due:
            self._flush_is_due = True
            self.link.call(self._flush)

    def waiting_since(self, queue: str) -> float | None:
        """When the first message that waits here for a thread was sent, in seconds since 1970; None: nothing waits."""
        return self._subscriptions[queue].waiting_since if queue in self._subscriptions else None

    def pause(self, queues: frozenset[str]) -> None:
        """Consume none of these queues from now on, and all others. What was handed out can still be settled."""
        with self.lock:
            self._paused = queues
            for queue, subscription in self._subscriptions.items():
                subscription.is_held_up = self.is_stopped or queue in queues
        if self._started:
            self.link.call(self._obey)

    def stop(self) -> None:
        """Fetch no more, and hand back at once what waits here. What was handed out can still be settled."""
        with self.lock:
            self.is_stopped = True  # now: what is settled from here on makes room for nothing
            for subscription in self._subscriptions.values():
                subscription.is_held_up = True
        self.link.call(self._obey)

    def close(self) -> None:
        """Settle what is settled, then close the connection."""
        self.link.call(self._flush)
        self.link.close()

    def _tell_the_next(self) -> None:
        """Wake one queue that has something, in turn, so that none starves another. Holds the lock."""
        for queue, subscription in self._subscriptions.items():
            if subscription.depth.is_shared and subscription.tell():
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
        self._flush_is_due = False  # an error on this thread may have taken the next look with it
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
        if subscription.queue not in self._paused:
            self._consume(subscription, stream)

    def _consume(self, subscription: Subscription, stream: Stream) -> None:
        stream.channel.basic_consume(subscription.queue, partial(self._arrived, subscription, stream))

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
        if subscription.queue in self._paused:  # it was on its way
            stream.hand_back(method.delivery_tag)
            return
        is_urgent = subscription.is_urgent(properties)
        with self.lock:
            (subscription.urgent if is_urgent else subscription.waiting).append(arrival)
            subscription.tell()

    def _flush(self) -> None:
        settled = [self._settled.popleft() for _ in range(len(self._settled))]
        # While there is something at every look, nobody has to wake this thread for it.
        self._flush_is_due = bool(settled)
        if settled:
            self.link.later(_FLUSH_SECONDS, self._flush)
        elif self._settled:  # it came between the two, and saw that this was due
            self.link.call(self._flush)
        self._make_room([arrival.stream.subscription for arrival, _ in settled])
        accepted: dict[Stream, list[int]] = {}
        for arrival, is_accepted in settled:
            stream = arrival.stream
            if stream.is_gone:
                self.stale_settlements += 1
            if stream.is_gone or arrival.tag not in stream.open:
                continue
            if is_accepted:
                del stream.open[arrival.tag]
                accepted.setdefault(stream, []).append(arrival.tag)
            elif self.is_stopped:
                stream.hand_back(arrival.tag)  # it can't come again to this process
            else:
                self.link.later(_HAND_BACK_SECONDS, partial(stream.hand_back, arrival.tag))
        for stream, tags in accepted.items():
            stream.acknowledge(tags)

    def _make_room(self, subscriptions: list[Subscription]) -> None:
        """For those with a room of their own; the others had it at once, since a thread is idle."""
        with self.lock:
            for subscription, count in Counter(each for each in subscriptions if not each.depth.is_shared).items():
                subscription.room.taken -= count
                subscription.tell()

    def _end(self, subscription: Subscription) -> None:
        stream = subscription.stream
        if stream is not None and not stream.is_gone and stream.channel.is_open:
            self._flush()
            stream.channel.close()

    def _obey(self) -> None:
        """Consume what is to be consumed, and nothing else."""
        with self.lock:
            subscriptions = list(self._subscriptions.values())
        for subscription in subscriptions:
            stream = subscription.stream
            if self.is_stopped or subscription.queue in self._paused:
                self._cancel(subscription, stream)
            elif stream is not None and stream.channel.is_open and not stream.channel.consumer_tags:
                self._consume(subscription, stream)

    def _cancel(self, subscription: Subscription, stream: Stream | None) -> None:
        """Let nothing more come, and hand back what waits here."""
        if stream is not None and not stream.is_gone and stream.channel.is_open:
            for consumer in stream.channel.consumer_tags:
                stream.channel.basic_cancel(consumer)
        with self.lock:
            waiting = subscription.forget()
        for arrival in waiting:
            arrival.stream.hand_back(arrival.tag)
