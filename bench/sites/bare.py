"""Bare pika: one connection, one thread, many messages on their way."""

import json
import os
import time
import uuid
from collections.abc import Callable
from typing import Any

import pika

from bench.sites.ours import empty
from workers import envelope

_WINDOW = 2_000
Content = tuple[bytes, pika.BasicProperties]


class Bare:
    """Publishes messages, at most so many of them unconfirmed.

    Parameters:
      fresh: each is built anew, with its own id, as any program must; else one is sent again and again.
    """

    def __init__(self, *, fresh: bool) -> None:
        ready = _ready()
        self._content: Callable[[], Content] = _fresh if fresh else lambda: ready
        self._wanted, self._sent, self._confirmed = 0, 0, 0
        self._began = 0.0
        self._channel: Any = None
        self._connection = pika.SelectConnection(pika.URLParameters(os.environ["BENCH_URL"]), self._opened)

    def publish(self, count: int) -> float:
        """How many seconds it took from the first message to the last confirm."""
        self._wanted += count
        if self._channel is not None:
            self._connection.ioloop.call_later(0, self._begin)
        self._connection.ioloop.start()
        return time.perf_counter() - self._began

    def _opened(self, connection: Any) -> None:
        self._channel = connection.channel(
            on_open_callback=lambda channel: channel.confirm_delivery(self._on_confirm, lambda _: self._begin())
        )

    def _begin(self) -> None:
        self._began = time.perf_counter()
        self._fill()

    def _fill(self) -> None:
        while self._sent < self._wanted and self._sent - self._confirmed < _WINDOW:
            self._channel.basic_publish("dutiful.jobs", "bench", *self._content(), mandatory=True)
            self._sent += 1

    def _on_confirm(self, frame: Any) -> None:
        # RabbitMQ confirms in order for one queue, so that the tag is the number of those before it as well.
        self._confirmed = max(self._confirmed, frame.method.delivery_tag)
        if self._confirmed == self._wanted:
            self._connection.ioloop.stop()
        self._fill()


def _ready() -> Content:
    message = empty.message()
    return envelope.body(message), envelope.properties(message)


def _fresh() -> Content:
    message_id, now = str(uuid.uuid4()), int(time.time() * 1000)
    body = json.dumps(
        {
            "queue_name": "bench",
            "actor_name": "empty",
            "args": [],
            "kwargs": {},
            "options": {},
            "message_id": message_id,
            "message_timestamp": now,
        },
        separators=(",", ":"),
    ).encode()
    return body, pika.BasicProperties(
        delivery_mode=2,
        content_type="application/json",
        message_id=message_id,
        timestamp=now // 1000,
        type="empty",
        app_id="bare",
        headers={},
    )
