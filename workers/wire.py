"""The wire form of a message: AMQP properties, headers and body, as every publisher of ours writes them.

The body is Dramatiq's JSON. What dutiful adds travels as headers, so that any language can read and write it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import pika

from .errors import ContractError
from .transport import topology

APP_ID: Final = "dutiful"
# our option in memory → header on the wire
HEADERS: Final = {
    "key": "dutiful-key",
    "attempt": "dutiful-attempt",
    "generation": "dutiful-generation",
    "replay_of": "dutiful-replay-of",
    "deferrals": "dutiful-deferrals",
    "first_deferred_at": "dutiful-first-deferred-at",
    "deliveries": "dutiful-deliveries",
    "traceparent": "traceparent",
}

_SHOWN: Final = 40

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make an encoder each time


class Outbound(Protocol):
    """What can be written: Dramatiq's messages, deliveries, and the jobs of other services."""

    @property
    def queue_name(self) -> str:
        """Where it waits."""

    @property
    def actor_name(self) -> str:
        """The job."""

    @property
    def args(self) -> Sequence[Any]:
        """Arguments by position."""

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """Arguments by name."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Those of the body, and those that travel as headers."""

    @property
    def message_id(self) -> str:
        """What makes it one message."""

    @property
    def message_timestamp(self) -> int:
        """When it was made, in milliseconds since 1970."""


def refuse_long_words(message: Outbound) -> None:
    """Look at the names that travel as AMQP's short strings, whose length counts in bytes of UTF-8.

    Raises:
      ContractError: one is too long, or no text that UTF-8 can write.
    """
    _refuse_long(message, "message_id", message.message_id, topology.LONGEST_WORD)
    _refuse_long(message, "actor_name", message.actor_name, topology.LONGEST_WORD)
    _refuse_long(message, "queue_name", topology.address(message.queue_name), topology.LONGEST_QUEUE)


def body(message: Outbound) -> bytes:
    """The message as JSON, without what travels as headers."""
    return _encode(
        {
            "queue_name": message.queue_name,
            "actor_name": message.actor_name,
            "args": message.args,
            "kwargs": message.kwargs,
            "options": {name: value for name, value in message.options.items() if name not in HEADERS},
            "message_id": message.message_id,
            "message_timestamp": message.message_timestamp,
        }
    ).encode()


def properties(message: Outbound, extra: Mapping[str, Any] | None = None) -> pika.BasicProperties:
    """The AMQP properties of a message.

    Only these leave: a broker's own headers (x-death above all) on a republished message would make RabbitMQ drop it.
    """
    options = message.options
    ours = {header: options[name] for name, header in HEADERS.items() if options.get(name) is not None}
    return pika.BasicProperties(
        delivery_mode=2,
        content_type="application/json",
        message_id=message.message_id,
        timestamp=message.message_timestamp // 1000,
        type=message.actor_name,
        app_id=APP_ID,
        headers={**ours, **(extra or {})},
    )


def _refuse_long(message: Outbound, name: str, word: str, longest: int) -> None:
    try:
        size = len(word.encode())
    except UnicodeEncodeError:
        size = 0  # half of a character
    if not 0 < size <= longest:
        raise ContractError(
            f"a message for {message.actor_name[:_SHOWN]!r} has a {name} that AMQP can't carry",
            expected=f"1 to {longest} bytes of UTF-8",
            received=f"{size} bytes, {word[:_SHOWN]!r}",
        )
