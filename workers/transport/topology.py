"""Every exchange and queue has its name and its arguments here; they are frozen, because RabbitMQ refuses other ones.

    publishers ──▶ dutiful.jobs ──▶ <queue> ──(delivery limit)──▶ <queue>.XQ
    delays     ──▶ dutiful.delay.NN … 00 ──▶ dutiful.deliver ──▶ <queue>
                                                 └─(no such queue)──▶ dutiful.undeliverable

A delay is a binary number of 100 ms units. Level NN holds a message for 2^NN units if its bit is set, and passes it on
at once if not, so that the broker alone keeps the time and no delayed message hides another.
"""

from collections.abc import Callable
from typing import Any, Final

from ..errors import ContractError

JOBS: Final = "dutiful.jobs"
DELIVER: Final = "dutiful.deliver"
UNDELIVERABLE: Final = "dutiful.undeliverable"
STORE: Final = "dutiful.store"
UNIT_MS: Final = 100
LEVELS: Final = 29
LONGEST_DELAY_MS: Final = (2**LEVELS - 1) * UNIT_MS
# Of AMQP, in bytes, for names and routing keys; a queue's name follows a digit and a dot for each level.
LONGEST_WORD: Final = 255
LONGEST_QUEUE: Final = LONGEST_WORD - 2 * LEVELS

# At-least-once dead-lettering needs reject-publish; without it RabbitMQ may lose messages, and says nothing.
_SAFE: Final[dict[str, Any]] = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
# A limit that is never reached: -1 destroys messages before RabbitMQ 4.0, and none means 20 from 4.0 on.
_NO_LIMIT: Final = 1_000_000_000
DELIVERY_LIMIT: Final = 50
# Ten minutes: longer delays keep nine bits, which is at most 0.5 % late and spares the broker a write a bit.
_EXACT_BELOW_UNITS: Final = 10 * 60 * 1000 // UNIT_MS
_KEPT_BITS: Final = 9


def dead_queue(queue: str) -> str:
    """The queue of the dead letters of a queue."""
    return f"{queue}.XQ"


def level(number: int) -> str:
    """The exchange, and the queue, of one level of the delay ladder."""
    return f"dutiful.delay.{number:02d}"


def parked_queue(actor: str) -> str:
    """The queue where the messages of an actor wait while it is paused."""
    return f"dutiful.parked.{actor}"


LONGEST_ACTOR: Final = LONGEST_WORD - len(parked_queue(""))


def declare_parked(channel: Any, actor: str, **options: Any) -> None:
    """Declare it. Doing it again changes nothing.

    Parameters:
      options: for `queue_declare`, such as a callback.
    """
    kept = {"x-queue-type": "quorum", "x-delivery-limit": _NO_LIMIT}
    channel.queue_declare(parked_queue(actor), durable=True, arguments=kept, **options)


def declare_vhost(channel: Any) -> None:
    """Declare what every queue shares. Doing it again changes nothing.

    Parameters:
      channel: a pika BlockingChannel.
    """
    channel.exchange_declare(JOBS, "direct", durable=True)
    channel.exchange_declare(UNDELIVERABLE, "fanout", durable=True)
    channel.queue_declare(
        UNDELIVERABLE, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": _NO_LIMIT}
    )
    channel.queue_bind(UNDELIVERABLE, UNDELIVERABLE)
    # Without the alternate exchange, 32 messages for a queue that is gone would stop every delay of the vhost.
    channel.exchange_declare(DELIVER, "topic", durable=True, arguments={"alternate-exchange": UNDELIVERABLE})
    for number in range(LEVELS):
        channel.exchange_declare(level(number), "topic", durable=True)
    for place, number in enumerate(reversed(range(LEVELS))):
        below = level(number - 1) if number else DELIVER
        held = {"x-message-ttl": UNIT_MS * 2**number, "x-dead-letter-exchange": below}
        channel.queue_declare(level(number), durable=True, arguments={**_SAFE, **held})
        channel.queue_bind(level(number), level(number), "*." * place + "1.#")
        channel.exchange_bind(below, level(number), "*." * place + "0.#")


def declare_store(channel: Any, store_id: str, **options: Any) -> None:
    """Let the vhost remember its store. Doing it again changes nothing; RabbitMQ refuses another store, and names both.

    Nothing is ever published there, and the exchange that it names is never made: its arguments are the memory.

    Parameters:
      options: for `exchange_declare`, such as a callback.
    """
    remembered = {"alternate-exchange": f"{STORE}.{store_id}"}
    channel.exchange_declare(STORE, "direct", durable=True, arguments=remembered, **options)


def declare_queue(channel: Any, queue: str) -> None:
    """Declare a work queue, its dead queue, and their bindings. Doing it again changes nothing."""
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead_queue(queue)}
    channel.queue_declare(
        dead_queue(queue), durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": _NO_LIMIT}
    )
    channel.queue_declare(queue, durable=True, arguments={**_SAFE, **dead, "x-delivery-limit": DELIVERY_LIMIT})
    channel.queue_bind(queue, JOBS, queue)
    channel.queue_bind(queue, DELIVER, f"#.{address(queue)}")


def look(queue: str, channel: Any, answer: Callable[[Any], None]) -> None:
    """Answer with what RabbitMQ says of a queue; one that is missing closes the channel."""
    channel.queue_declare(queue, passive=True, callback=answer)


def delay_route(delay_ms: int, queue: str) -> tuple[str, str]:
    """Where to publish a message that is due in `delay_ms`, rounded up.

    Returns:
      the exchange and the routing key.

    Raises:
      ContractError: the delay is longer than the ladder, 621 days.
    """
    if delay_ms > LONGEST_DELAY_MS:
        raise ContractError(
            "a message can't be delayed that long",
            expected=f"at most {LONGEST_DELAY_MS} ms (621 days)",
            received=f"{delay_ms} ms",
        )
    units = min(_rounded(-(-delay_ms // UNIT_MS)), 2**LEVELS - 1)
    bits = ".".join(str(units >> number & 1) for number in reversed(range(LEVELS)))
    return level(units.bit_length() - 1), f"{bits}.{address(queue)}"


def _rounded(units: int) -> int:
    if units <= _EXACT_BELOW_UNITS:
        return max(units, 1)
    step: int = 1 << (units.bit_length() - _KEPT_BITS)
    return -(-units // step) * step


def address(queue: str) -> str:
    """The queue's name as one word of a routing key: a dot would let one name match another's end."""
    return queue.replace("%", "%25").replace(".", "%2E")
