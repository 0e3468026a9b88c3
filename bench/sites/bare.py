"""Bare pika: one connection, one thread, many messages on their way."""

import os
import time
from typing import Any

import pika

from bench.sites.ours import empty
from workers import envelope

_WINDOW = 2_000


class Bare:
    """Publishes one message again and again, at most so many of them unconfirmed."""

    def __init__(self, count: int) -> None:
        message = empty.message()
        self._body, self._properties = envelope.body(message), envelope.properties(message)
        self._count, self._sent, self._confirmed = count, 0, 0
        self._connection = pika.SelectConnection(pika.URLParameters(os.environ["BENCH_URL"]), self._opened)
        self._channel: Any = None

    def run(self) -> float:
        """How many seconds it took from the first message to the last confirm."""
        self._connection.ioloop.start()
        return time.perf_counter() - self._began

    def _opened(self, connection: Any) -> None:
        self._channel = connection.channel(
            on_open_callback=lambda channel: channel.confirm_delivery(self._on_confirm, self._begin)
        )

    def _begin(self, _frame: Any) -> None:
        self._began = time.perf_counter()
        self._fill()

    def _fill(self) -> None:
        while self._sent < self._count and self._sent - self._confirmed < _WINDOW:
            self._channel.basic_publish("dutiful.jobs", "bench", self._body, self._properties, mandatory=True)
            self._sent += 1

    def _on_confirm(self, frame: Any) -> None:
        # RabbitMQ confirms in order for one queue, so that the tag is the number of those before it as well.
        self._confirmed = max(self._confirmed, frame.method.delivery_tag)
        if self._confirmed == self._count:
            self._connection.ioloop.stop()
        self._fill()


def publish(count: int) -> float:
    """Publish so many messages to a queue that is declared already, and return the seconds."""
    return Bare(count).run()
