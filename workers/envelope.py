"""The envelope maps a message to AMQP properties, headers and body, and back; workers.wire is its writing half."""

from collections.abc import Mapping
from typing import Any, Final

import pika
from dramatiq import Message
from pydantic_core import from_json

from workers.errors import ContractError
from workers.transport import topology
from workers.wire import APP_ID, HEADERS, body, properties, refuse_long_words

__all__ = ["APP_ID", "HEADERS", "body", "decode", "properties", "raw_properties", "refuse_long_words"]

_OPTIONS_BY_HEADER: Final = {header: name for name, header in HEADERS.items()}
_NUMBERS: Final = {"attempt", "generation", "deferrals", "first_deferred_at", "deliveries"}
# What the next hop and the store can hold: a column of 32 bits, a short string of AMQP, a moment in milliseconds.
_LARGEST: Final = {"first_deferred_at": 2**53}
_LARGEST_COUNT: Final = 2**31 - 1000
_LONGEST_HEADER: Final = 1024
_OPTIONS: Final = (
    "max_retries",
    "min_backoff",
    "max_backoff",
    "time_limit",
    "hard_time_limit",
    "expires_in",
    "crashes",
)
_FIELDS: Final[dict[str, type]] = {
    "queue_name": str,
    "actor_name": str,
    "args": list,
    "kwargs": dict,
    "options": dict,
    "message_id": str,
    "message_timestamp": int,
}


def raw_properties(received: pika.BasicProperties, extra: Mapping[str, Any]) -> pika.BasicProperties:
    """The properties of a dead letter whose body could not be read."""
    return pika.BasicProperties(
        delivery_mode=2,
        content_type=received.content_type,
        content_encoding=received.content_encoding,
        message_id=received.message_id,
        type=received.type,
        app_id=APP_ID,
        headers=dict(extra),
    )


def decode(data: bytes, headers: Mapping[str, Any]) -> Message[Any]:
    """The message in an AMQP body, with the headers that are ours as options.

    Raises:
      ContractError: it is no message; the text says why.
    """
    try:
        fields = from_json(data)
    except ValueError as error:
        raise _undecodable(f"no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise _undecodable(f"a JSON {type(fields).__name__}")
    for name, kind in _FIELDS.items():
        if type(fields.get(name)) is not kind:
            raise _undecodable(f"{name} is {type(fields.get(name)).__name__}, not {kind.__name__}")
    if not fields["message_id"]:
        raise _undecodable("message_id is empty")
    _refuse_what_cant_be_carried(fields)
    options = fields["options"]
    if options:
        _refuse_wrong_options(options)
        # An eta would make Dramatiq hold the message in this process's memory; here the broker keeps delays.
        options = {name: value for name, value in options.items() if name not in HEADERS and name != "eta"}
    if headers:
        options.update(_from_headers(headers))
    return Message(
        queue_name=fields["queue_name"],
        actor_name=fields["actor_name"],
        args=tuple(fields["args"]),
        kwargs=fields["kwargs"],
        options=options,
        message_id=fields["message_id"],
        message_timestamp=fields["message_timestamp"],
    )


def _from_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for header, value in headers.items():
        name = _OPTIONS_BY_HEADER.get(header)
        if name is None or value is None:
            continue
        if name in _NUMBERS and not _is_count(value, _LARGEST.get(name, _LARGEST_COUNT)):
            raise _undecodable(f"the header {header} is {str(value)[:40]!r}, not a number that can be")
        if name not in _NUMBERS and not isinstance(value, str):
            raise _undecodable(f"the header {header} is no text")
        if name not in _NUMBERS and len(value.encode(errors="replace")) > _LONGEST_HEADER:
            raise _undecodable(f"the header {header} is longer than {_LONGEST_HEADER} bytes")
        options[name] = value
    return options


def _refuse_what_cant_be_carried(fields: Mapping[str, Any]) -> None:
    """A message that can be read but not sent again, nor as a dead letter, would come back for ever."""
    for name in ("message_id", "actor_name"):
        if len(fields[name].encode()) > topology.LONGEST_WORD:
            raise _undecodable(f"{name} is longer than {topology.LONGEST_WORD} bytes")
    if not _is_count(fields["message_timestamp"], 2**53):
        raise _undecodable("message_timestamp is no moment")


def _refuse_wrong_options(options: Mapping[str, Any]) -> None:
    for name in _OPTIONS:
        if name in options and options[name] is not None and not _is_count(options[name], _LARGEST_COUNT):
            raise _undecodable(f"the option {name} is {str(options[name])[:40]!r}, not a number that can be")


def _is_count(value: Any, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest


def _undecodable(problem: str) -> ContractError:
    return ContractError(
        "the message can't be read", expected="Dramatiq's JSON envelope (docs/messages.md)", received=problem
    )
