"""A link is one AMQP connection with an I/O thread of its own; it reconnects by itself until it is closed."""

import copy
import logging
import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Final

from pika import SSLOptions
from pika.exceptions import StreamLostError

from ..tls import client_context
from .turns import Connection, Loop

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 5.0
_FAREWELL_SECONDS: Final = 1.0


def bound(
    hosts: Sequence[Any], *, heartbeat_seconds: int, connect_timeout_seconds: int, ca_path: Path | None = None
) -> None:
    """Give each host its deadlines: no call to it waits for ever, and a silent cut is noticed.

    Parameters:
      ca_path: the authorities that may sign the certificate of a host with amqps:; None: those that this system trusts.

    Raises:
      ConfigurationError: the file of authorities can't be read.
    """
    for each in hosts:
        each.heartbeat = heartbeat_seconds
        each.socket_timeout = connect_timeout_seconds
        each.stack_timeout = connect_timeout_seconds
        each.blocked_connection_timeout = None  # each message has its deadline
        each.tcp_options = {"TCP_USER_TIMEOUT": heartbeat_seconds * 1000}
        if each.ssl_options is not None:  # an amqps: address
            each.ssl_options = SSLOptions(client_context(ca_path), each.host)


class Link:
    """One connection. Everything it calls back is called on its own thread.

    It belongs to the process that started it: after a fork, make another.

    Parameters:
      hosts: where to connect to; tried in an order that is shuffled each time.
      name: of the thread. RabbitMQ lists the connection under the number of the process.
      opened: called with each connection that is open.
      lost: called with the reason when a connection has ended, or could not be made.

    Attributes:
      losses: how often that has happened.
    """

    def __init__(
        self,
        hosts: Sequence[Any],
        *,
        name: str,
        opened: Callable[[Any], None],
        lost: Callable[[BaseException], None],
    ) -> None:
        self.hosts = [copy.copy(host) for host in hosts]
        self.name = name
        self.pid = os.getpid()
        self.losses = 0
        for host in self.hosts:
            host.client_properties = {"connection_name": f"dutiful {self.pid}"}
        self._opened = opened
        self._lost = lost
        self._loop = Loop()
        self._connection: Any = None
        self._attempt: Any = None
        self._closing = False
        self._failures = 0
        self._untried: list[Any] = []
        self._starting = threading.Lock()
        self._started = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> bool:
        """Begin to connect, unless it has begun; whether this call did it."""
        with self._starting:
            first, self._started = not self._started, True
        if first:
            self._thread.start()
        return first

    def call(self, act: Callable[[], None]) -> None:
        """Do something on the link's thread; nothing happens once it is closed."""
        self._loop.add_callback_threadsafe(act)

    def turn(self, act: Callable[[], None]) -> None:
        """Do something on this thread while the link's has nothing to do, or else on the link's.

        An exception from outside that ends it half way, such as Ctrl-C, costs the connection, as an error on the link's
        thread does.
        """
        if not self._loop.visit(act):
            self.call(act)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something on the link's thread after a while. Only on that thread."""
        self._loop.call_later(seconds, act)

    def drop(self) -> None:
        """End the connection as if it had been cut, and connect anew. Only on the link's thread."""
        if self._connection is not None and not (self._connection.is_closing or self._connection.is_closed):
            self._connection.close(320, "dropped by its owner")
            self.later(_FAREWELL_SECONDS, partial(_cut, self._connection))

    def close(self) -> None:
        """Close the connection, and end the thread; bounded to a few seconds."""
        if os.getpid() != self.pid:
            return
        if self._thread.ident is None:
            self._loop.close()  # it was never started
        elif self._thread.is_alive():
            self.call(self._shut)
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        self._connect()
        while True:
            try:
                self._loop.start()
            except Exception as error:  # noqa: BLE001  a callback of pika's or ours; the thread must live on
                _log.exception("%s failed; it connects anew", self.name)
                connection, self._connection = self._connection, None
                self._lost(error)
                if connection is not None and connection.is_open:
                    _cut(connection)  # it may have written half a message, and could not say good-bye
                else:
                    self._reconnect_later()
            else:
                self._loop.close()
                return

    def _connect(self) -> None:
        if self._closing:
            return
        if not self._untried:
            self._untried = random.sample(self.hosts, len(self.hosts))
        self._attempt = Connection(
            self._untried.pop(),
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_end,
            on_close_callback=self._on_end,
            custom_ioloop=self._loop,
        )

    def _on_open(self, connection: Any) -> None:
        self._failures = 0
        self._connection = connection
        if self._closing:
            connection.close()
        else:
            self._opened(connection)

    def _on_end(self, _connection: Any, reason: BaseException) -> None:
        self._connection = None
        if self._closing:
            self._loop.stop()
            return
        self.losses += 1
        self._lost(reason)
        self._reconnect_later()

    def _reconnect_later(self) -> None:
        ceiling = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**self._failures)
        self._failures += 1
        self._loop.call_later(random.uniform(0, ceiling), self._connect)  # noqa: S311  jitter is no secret

    def _shut(self) -> None:
        self._closing = True
        connection = self._connection or self._attempt
        if connection is None or connection.is_closed:
            self._loop.stop()
        elif not connection.is_closing:
            connection.close()


def _cut(connection: Any) -> None:
    """End a connection without a good-bye; pika itself ends silent ones like this."""
    if not connection.is_closed:
        connection._terminate_stream(StreamLostError("it was cut off by its owner"))  # noqa: SLF001


class Question:
    """Something to do on a channel of its own, and its answer."""

    def __init__(self, act: Callable[[Any, Callable[[Any], None]], None]) -> None:
        self.answer: Future[Any] = Future()
        self._act = act
        self._channel: Any = None

    def ask(self, channel: Any) -> None:
        """Begin, on a channel that has opened."""
        self._channel = channel
        self._act(channel, self._answered)

    def fail(self, reason: BaseException) -> None:
        """End without an answer."""
        if not self.answer.done():
            self.answer.set_exception(reason)

    def close(self) -> None:
        """Close the channel."""
        if self._channel is not None and self._channel.is_open:
            self._channel.close()

    def _answered(self, answer: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)
