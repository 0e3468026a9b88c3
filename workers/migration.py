"""Migration moves stock Dramatiq's jobs into our queues: each is confirmed here before it is settled there."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pika import exceptions as amqp

from workers.errors import ContractError, PublishError
from workers.origin import Origin, Part, unreachable
from workers.rabbitmq import DutifulBroker
from workers.stock import Translation, translate
from workers.transport.post import Post

_PREFETCH: Final = 500
_TURN_SECONDS: Final = 0.1
_PAUSE_SECONDS: Final = 5.0
_REMEMBERED: Final = 100_000
_LISTED: Final = 20


@dataclass(slots=True, frozen=True)
class _Move:
    part: Part
    tag: int
    message_id: str
    delayed: bool
    post: Post


class Migration:
    """Moves the messages of some queues.

    Stopped at any moment, even by kill -9, it loses nothing, and can be started again. A message that was confirmed
    here and not yet settled there is then moved twice, with the same id: one job, unless its actor has key=None.

    Parameters:
      broker: ours.
      origin: the other vhost, whose queues have been looked at.
      follow: go on when they are empty, until `stop` is called.
      progress: told now and then how it stands.
      trouble: told of each outage that `follow` survives.
    """

    def __init__(
        self,
        broker: DutifulBroker,
        origin: Origin,
        *,
        follow: bool = False,
        progress: Callable[[], None] = lambda: None,
        trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._broker = broker
        self._origin = origin
        self._follow = follow
        self._progress = progress
        self._trouble = trouble
        self._stopped = threading.Event()
        self._in_flight: deque[_Move] = deque()
        self._recent: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._listed: set[tuple[str, str]] = set()
        self._arrivals = 0
        self._ending = False

    def stop(self) -> None:
        """End soon, with everything settled that was confirmed."""
        self._stopped.set()

    def run(self) -> None:
        """Move everything that is there.

        Raises:
          PublishError: RabbitMQ here did not take a message. It is still there.
          BrokerUnreachable: RabbitMQ there can't be reached.
        """
        for queue in {part.queue for part in self._origin.parts if part.exists or self._follow}:
            self._broker.declare_queue(queue, ensure=True)
        while not self._stopped.is_set():
            try:
                self._session()
                return
            except (amqp.AMQPError, OSError, PublishError) as error:
                failure = error if isinstance(error, PublishError) else unreachable(error)
                if not self._follow:
                    raise failure from error
                self._trouble(f"{failure}; the next try is in {_PAUSE_SECONDS:.0f} s")
                self._stopped.wait(_PAUSE_SECONDS)

    # One connection to the other vhost

    def _session(self) -> None:
        self._in_flight.clear()
        self._ending = False
        with self._origin.connect() as connection:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=_PREFETCH)
            channel.add_on_cancel_callback(self._deleted)
            for part in self._origin.parts:
                part.left = 0  # what was left is handed out again
                if part.exists:
                    self._consume(channel, part)
            try:
                self._turn_until_done(connection, channel)
            finally:
                self._end(connection, channel)

    def _consume(self, channel: Any, part: Part) -> None:
        channel.basic_consume(part.source, partial(self._take, part), consumer_tag=part.source)

    def _deleted(self, frame: Any) -> None:
        """The broker has ended a consumer: its queue is gone."""
        for part in self._origin.parts:
            part.exists &= part.source != frame.method.consumer_tag

    def _turn_until_done(self, connection: Any, channel: Any) -> None:
        next_look = 0.0
        while not self._stopped.is_set():
            if self._follow and time.monotonic() > next_look:
                next_look = time.monotonic() + _PAUSE_SECONDS
                for part in self._origin.appeared(connection):
                    self._consume(channel, part)
            seen = self._arrivals
            connection.process_data_events(_TURN_SECONDS)
            self._settle(channel)
            self._progress()
            idle = self._arrivals == seen and not self._in_flight
            if idle and not self._follow and self._is_empty(connection, channel):
                return

    def _is_empty(self, connection: Any, channel: Any) -> bool:
        """Whether nothing more can come; what this connection was left with fills its share of a queue."""
        seen = self._arrivals
        for part in self._origin.parts:
            if (
                part.exists
                and part.left < _PREFETCH
                and channel.queue_declare(part.source, passive=True).method.message_count
            ):
                return False
        connection.process_data_events(0)
        return self._arrivals == seen

    def _take(self, part: Part, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._arrivals += 1
        if self._ending:
            return  # it goes back when the connection closes
        try:
            found = translate(body, properties.headers or {}, queue=part.queue, dead=part.dead)
            message_id = found.message.message_id
            if method.redelivered and (part.source, message_id) in self._recent:
                channel.basic_ack(method.delivery_tag)  # it is here; the settlement was lost with a connection
                return
            move = _Move(part, method.delivery_tag, message_id, found.due > _now(), self._post(found))
        except ContractError as error:
            self._leave(part, properties, body, error)
            return
        self._broker.publisher.publish([move.post])
        self._in_flight.append(move)

    def _post(self, found: Translation) -> Post:
        message = found.message
        if message.actor_name not in self._broker.actors:
            known = ", ".join(sorted(self._broker.actors))
            raise ContractError("no actor here has that name", expected=f"one of {known}", received=message.actor_name)
        post = self._broker.post(message, found.due - _now(), dead=found.dead)
        self._broker.refuse_too_large(message.actor_name, len(post.body))
        return post

    def _leave(self, part: Part, properties: Any, body: bytes, error: ContractError) -> None:
        """Keep it unsettled; it returns to its place when the connection closes."""
        part.left += 1
        name = properties.message_id or f"{len(body)} bytes {body[:80]!r}"
        if len(part.reasons) < _LISTED and (part.source, name) not in self._listed:
            self._listed.add((part.source, name))
            part.reasons.append(f"{name}: {error.what}, expected {error.expected}, received {error.received}")
        if part.left == _PREFETCH:
            full = f"{_PREFETCH} messages can't be moved; what lies behind them is out of reach until they are gone"
            part.reasons.append(full)
            self._trouble(f"{part.source}: {full}")

    def _settle(self, channel: Any) -> None:
        while self._in_flight and self._in_flight[0].post.is_done:
            move = self._in_flight[0]
            move.post.wait(0)  # raises what went wrong
            channel.basic_ack(move.tag)
            self._in_flight.popleft()
            self._count(move)

    def _count(self, move: _Move) -> None:
        move.part.moved += 1
        move.part.delayed += move.delayed and not move.part.dead
        self._recent[(move.part.source, move.message_id)] = None
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    def _end(self, connection: Any, channel: Any) -> None:
        """Wait for what is on its way: settled now, it is not moved twice later."""
        self._ending = True
        try:
            self._settle_the_rest(connection, channel)
        except amqp.AMQPError:
            self._remember_the_rest()
            raise

    def _settle_the_rest(self, connection: Any, channel: Any) -> None:
        failure: PublishError | None = None
        while self._in_flight:
            try:
                self._settle(channel)
            except PublishError as error:
                self._in_flight.popleft()
                failure = error
            if self._in_flight:
                connection.process_data_events(_TURN_SECONDS)
        if failure is not None:
            raise failure

    def _remember_the_rest(self) -> None:
        """The other connection is gone: note what is here, so that it is not moved twice by this process."""
        while self._in_flight:
            move = self._in_flight.popleft()
            with suppress(PublishError):
                move.post.wait(self._broker.publish_timeout_seconds + 1)
                self._count(move)


def _now() -> int:
    return int(time.time() * 1000)
