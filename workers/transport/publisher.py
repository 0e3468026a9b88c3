"""The publisher has many messages on their way at once, and tells of each one how it went."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from itertools import islice, takewhile
from typing import Any, Final

import pika

from ..errors import BrokerUnreachable
from . import refusal
from .connection import Link, Question
from .post import Post

_WINDOW: Final = 1_000
_CHECK_SECONDS: Final = 0.2
_WAITING_LIMIT: Final = 10_000
_NOT_FOUND: Final = 404
# RabbitMQ reads nothing more from a connection with 32 messages for a quorum queue that answers none of them.
_STUCK: Final = 16
_CLOSING: Final = (pika.exceptions.ChannelWrongStateError, pika.exceptions.ConnectionWrongStateError)


class Publisher:
    """Publishes from any number of threads over one connection, with confirms.

    Parameters:
      hosts: as Link takes them.
      name: of the connection.
    """

    def __init__(self, hosts: Sequence[Any], *, name: str) -> None:
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._waiting: deque[Post] = deque()
        self._drain_is_due = False
        # From here on, only the link's thread:
        self._unconfirmed: OrderedDict[int, Post] = OrderedDict()
        self._given_up: set[int] = set()  # past their deadlines, and without an answer
        self._connection: Any = None
        self._channel: Any = None
        self._questions: list[Question] = []
        self._next_tag = 1
        self.is_blocked = False  # RabbitMQ has too little memory or disk, and takes no messages
        self._drain_is_next = False
        self._reason: BaseException | None = None
        self._round = 0
        self.link = Link(hosts, name=name, opened=self._opened, lost=self._lost)

    def publish(self, posts: Iterable[Post], *, interruptible: bool = False) -> None:
        """Send messages on their way; each one tells how it went.

        When ten thousand wait already, it waits for room, at most until a message's deadline.

        Parameters:
          interruptible: this thread may be interrupted at any moment, as a job is at its limit. The link's own then
            writes: half a message would cost all others the connection.
        """
        left = iter(posts)
        while batch := list(islice(left, _WINDOW)):
            with self._lock:
                while len(self._waiting) >= _WAITING_LIMIT:
                    if not self._room.wait(max(0, batch[0].deadline - time.monotonic())):
                        break
                self._waiting.extend(batch)
                due, self._drain_is_due = not self._drain_is_due, True
            if due:
                self._start()
                hand_over = self.link.call if interruptible else self.link.turn
                hand_over(self._drain)

    def ask(self, act: Callable[[Any, Callable[[Any], None]], None], seconds: float) -> Any:
        """Do something on a channel of its own, and return what it answers.

        Parameters:
          act: gets the channel, and a function to answer with.
          seconds: the longest that it may take.

        Raises:
          TimeoutError: there was no answer, or no connection, in time.
          pika.exceptions.AMQPError: the broker refused.
        """
        question = Question(act)
        self._start()
        self.link.call(partial(self._put, question))
        try:
            return question.answer.result(seconds)
        except FutureTimeoutError:
            raise TimeoutError(f"no answer in {seconds:.0f} s; the connection: {self._reason!r}") from None
        finally:
            self.link.call(question.close)

    def unreachable(self) -> BrokerUnreachable:
        """The error that says why there is no connection."""
        return refusal.unreachable(self._reason)

    def close(self) -> None:
        """Close the connection. What is not confirmed by then ends as unconfirmed."""
        self.link.close()

    def _start(self) -> None:
        if self.link.start():
            self.link.call(partial(self._check, self._round))

    # From here on, everything runs on the link's thread.

    def _opened(self, connection: Any) -> None:
        self._connection = connection
        questions, self._questions = self._questions, []
        for question in questions:
            self._put(question)
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(self._on_return)
        channel.connection.confirm(channel, self._on_confirm, partial(self._ready, channel))

    def _ready(self, channel: Any) -> None:
        self._channel, self._next_tag, self._given_up, self.is_blocked = channel, 1, set(), False
        self._drain()

    def _channel_closed(self, channel: Any, reason: BaseException) -> None:
        if channel is self._channel:
            self._return_what_had_no_exchange(reason)
            self._forget(reason)
            self.link.drop()  # a new connection is the simplest way to a new channel

    def _return_what_had_no_exchange(self, reason: BaseException) -> None:
        if getattr(reason, "reply_code", None) != _NOT_FOUND:
            return
        text = getattr(reason, "reply_text", "")
        for tag, post in list(self._unconfirmed.items()):
            if f"exchange '{post.exchange}'" in text:
                del self._unconfirmed[tag]
                post.returned = True
                post.confirm(accepted=False)

    def _lost(self, reason: BaseException) -> None:
        self._connection = None
        self._forget(reason)
        self._round += 1
        self._check(self._round)  # an error on this thread may have taken the next one with it
        if (final := refusal.final(reason)) is not None:
            while self._questions:
                self._questions.pop().fail(final)

    def _put(self, question: Question) -> None:
        if self._connection is None or not self._connection.is_open:
            self._questions.append(question)
        else:
            channel = self._connection.channel(on_open_callback=question.ask)
            channel.add_on_close_callback(lambda _, reason: question.fail(reason))

    def _forget(self, reason: BaseException) -> None:
        self._reason = reason
        self._channel, self.is_blocked = None, False
        lost, self._unconfirmed = list(self._unconfirmed.values()), OrderedDict()
        with self._lock:
            if self._waiting and self._waiting[0].sent:  # perhaps just now, by a visitor that was interrupted
                first = self._waiting.popleft()
                lost += [first] if not any(post is first for post in lost) else []
            self._waiting.extendleft(post for post in reversed(lost) if post.repeatable)
        for post in lost:
            if not post.repeatable:
                post.lose(f"the connection was lost: {reason!r}")

    def _drain(self) -> None:
        with self._lock:
            self._drain_is_due = self._drain_is_next = False
        while self._waiting and len(self._unconfirmed) < _WINDOW and self._channel is not None and not self.is_blocked:
            post = self._waiting[0]  # there it stays until it has its tag: a visitor may be interrupted anywhere
            was_sent, post.sent = post.sent, True
            try:
                self._channel.basic_publish(post.exchange, post.routing_key, post.body, post.properties, mandatory=True)
            except _CLOSING:
                post.sent = was_sent
                return  # when the next channel opens, it is sent there
            except Exception as error:  # noqa: BLE001  a name or header that AMQP can't carry
                post.fail(refusal.not_amqp(error))
            else:
                post.returned = False
                self._unconfirmed[self._next_tag] = post
                self._next_tag += 1
            self._waiting.popleft()
        with self._lock:
            self._room.notify_all()

    def _on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        tags = list(takewhile(tag.__ge__, self._unconfirmed)) if multiple else [tag]
        self._given_up -= {each for each in self._given_up if each <= tag} if multiple else {tag}
        for each in tags:
            post = self._unconfirmed.pop(each, None)
            if post is not None:  # else its deadline has passed, and it has been told so
                post.confirm(accepted=accepted)
        if self._waiting and not self._drain_is_next:
            self._drain_is_next = True  # at the end of this turn, once for all confirms that came with it
            self.link.later(0, self._drain)

    def _on_return(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        # It comes before the message's own ack, and carries no tag.
        for post in self._unconfirmed.values():
            if post.properties.message_id == properties.message_id and not post.returned:
                post.returned = True
                return

    def _on_blocked(self, _connection: Any, _method: Any) -> None:
        self.is_blocked = True

    def _on_unblocked(self, _connection: Any, _method: Any) -> None:
        self.is_blocked = False
        self._drain()

    def _check(self, number: int) -> None:
        """Give up on what is past its deadline, and look again, unless another round of checks has begun."""
        if number != self._round:
            return
        now = time.monotonic()
        for tag in [tag for tag, post in self._unconfirmed.items() if post.deadline <= now]:
            self._unconfirmed.pop(tag).lose("no confirm before the deadline")
            self._given_up.add(tag)
        if len(self._given_up) >= _STUCK:
            self.link.drop()  # before one queue holds up the others
        with self._lock:
            late = [post for post in self._waiting if post.deadline <= now]
            if late:
                self._waiting = deque(post for post in self._waiting if post.deadline > now)
                self._room.notify_all()
        for post in late:
            self._give_up(post)
        if self._waiting:
            self._drain()  # who should have seen to it was interrupted
        self.link.later(_CHECK_SECONDS, partial(self._check, number))

    def _give_up(self, post: Post) -> None:
        if post.sent:
            post.lose(f"the connection was lost: {self._reason!r}")
        elif self.is_blocked:
            post.fail(refusal.blocked(post.where))
        else:
            post.fail(self.unreachable())
