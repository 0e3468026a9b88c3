"""The publishers' outbox sends a job with a service's own commit: both happen, or neither.

    with engine.begin() as connection:
        connection.execute(insert(orders).values(id=7))
        outbox.add(connection, ship.message(order_id=7))

A relay publishes it soon after (`workers.relay`); docs/outbox.md has the whole, and the same for other languages.
"""

import json
from datetime import timedelta
from typing import Any, Final

from dramatiq import Message
from dramatiq.common import q_name
from sqlalchemy import Connection, insert

from workers import envelope
from workers.errors import ContractError
from workers.keys import checked_key
from workers.store import tables
from workers.store.publisher_outbox import Waiting
from workers.traces import stamp

_SHOWN: Final = 255


def add(connection: Connection, message: Message[Any], delay: timedelta | int | None = None) -> None:
    """Store a message in the transaction that the connection is in.

    Parameters:
      connection: of the store's database, or of the service's own, after `dutiful outbox init`. A Session's is
        `session.connection()`; on an AsyncConnection, `await connection.run_sync(outbox.add, message)`.
      message: from `actor.message(…)`.
      delay: how long the job waits, counted from now: a timedelta or milliseconds.

    Raises:
      sqlalchemy.exc.DBAPIError: the database refused, as it may any INSERT; a message's id is there already, say.
    """
    milliseconds = int(delay.total_seconds() * 1000) if isinstance(delay, timedelta) else delay
    stamp(message)
    headers = envelope.properties(message).headers
    connection.execute(
        insert(tables.publisher_outbox).values(
            message_id=message.message_id,
            queue=q_name(message.queue_name),
            body=envelope.body(message).decode(),
            headers=json.dumps(headers) if headers else None,
            delay_ms=milliseconds,
        )
    )


def read(row: Waiting) -> Message[Any]:
    """The message of a row.

    Raises:
      ContractError: it is none, contradicts its row, or can't travel; the text says why.
    """
    body = row.body.encode() if isinstance(row.body, str) else row.body
    message = envelope.decode(body, _headers(row.headers))
    queue = q_name(message.queue_name)
    if (message.message_id, queue) != (row.message_id, row.queue):
        raise ContractError(
            "a row of the outbox contradicts its body",
            expected=f"message_id {message.message_id[:_SHOWN]} and queue {queue[:_SHOWN]}",
            received=f"{row.message_id[:_SHOWN]} and {row.queue[:_SHOWN]}",
        )
    checked_key(message.actor_name, message.message_id)
    if "key" in message.options:
        checked_key(message.actor_name, message.options["key"])
    envelope.refuse_long_words(message)
    try:
        envelope.properties(message).encode()
    except Exception as error:
        raise _unfit("properties and headers that AMQP can carry", repr(error)) from error
    return message


def _headers(text: Any) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        headers = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise _unfit("a JSON object in headers", type(error).__name__) from None
    if not isinstance(headers, dict):
        raise _unfit("a JSON object in headers", type(headers).__name__)
    return headers


def _unfit(expected: str, received: str) -> ContractError:
    return ContractError("a row of the outbox can't be published", expected=expected, received=received)
