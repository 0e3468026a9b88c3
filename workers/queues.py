"""What the queues of RabbitMQ hold, without taking a message out."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from pika import exceptions as amqp

from workers.errors import BrokerUnreachable
from workers.management import Management, ManagementUnavailable
from workers.rabbitmq import DutifulBroker
from workers.reaching import SECONDS
from workers.tls import client_context
from workers.transport import topology
from workers.transport.refusal import unreachable

NOT_FOUND: Final = 404

NO_MANAGEMENT: Final = (
    "unacked and oldest are unknown: AMQP doesn't tell them. Set DUTIFUL_RABBITMQ__MANAGEMENT_URL to RabbitMQ's "
    "management page."
)
ONE_TOTAL: Final = (
    "delayed is one number for all queues: a delayed job waits in the delay ladder, which every queue shares, and "
    "RabbitMQ does not count it by where it goes."
)
NO_AGE: Final = (
    "oldest is unknown where RabbitMQ doesn't tell the age of a quorum queue's first message; to take a job out "
    "and look would count as a delivery."
)
UNDELIVERABLE: Final = (
    "jobs in dutiful.undeliverable became due when their queue was gone. They are kept. Declare the queue again "
    "(dutiful queues declare), then move them with a shovel from dutiful.undeliverable to the exchange dutiful.jobs, "
    "with the queue's name as the routing key. Each job's body has its queue_name."
)


@dataclass(frozen=True, slots=True)
class Count:
    """What AMQP tells of a queue."""

    ready: int
    consumers: int


@dataclass(frozen=True, slots=True)
class Holding:
    """What one work queue holds. None means that it can't be known, or that the queue is missing.

    Attributes:
      ready: jobs that a worker may take now.
      unacked: jobs that a worker has and has not settled.
      dead: dead letters.
      consumers: worker processes that read it.
      oldest_seconds: how long the first ready job has been waiting.
      missing: it, or its dead queue, does not exist.
    """

    queue: str
    ready: int | None = None
    unacked: int | None = None
    dead: int | None = None
    consumers: int | None = None
    oldest_seconds: float | None = None
    missing: bool = False


@dataclass(slots=True)
class Holdings:
    """What a vhost holds.

    Attributes:
      delayed: jobs in the delay ladder; None when it does not exist.
      undeliverable: jobs that were due when their queue was gone.
      notes: what a reader of the numbers should know.
    """

    queues: list[Holding]
    delayed: int | None
    undeliverable: int
    notes: list[str] = field(default_factory=list)


def holdings(broker: DutifulBroker, queues: Iterable[str], management: Management | None) -> Holdings:
    """What the queues hold now. Nothing is declared, and nothing is taken.

    Raises:
      BrokerUnreachable: there is no connection, or this user may not look.
    """
    notes: list[str] = []
    facts: dict[str, dict[str, Any]] | None = None
    if management is not None:
        try:
            facts = management.queues()
        except ManagementUnavailable as error:
            notes.append(f"unacked and oldest are unknown: {error}")
    found = held(broker, queues, facts)
    ladder = [count(broker, topology.level(number)) for number in range(topology.LEVELS)]
    lost = count(broker, topology.UNDELIVERABLE)
    delayed = None if None in ladder else sum(each.ready for each in ladder if each)
    result = Holdings(found, delayed, lost.ready if lost else 0, notes)
    _add_notes(result, with_management=management is not None, with_facts=facts is not None)
    return result


def held(
    broker: DutifulBroker, queues: Iterable[str], facts: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Holding]:
    """What each of these queues holds: two questions to RabbitMQ for each.

    Parameters:
      facts: what the management API says of each, by name; None: it was not asked.

    Raises:
      BrokerUnreachable: as `holdings`.
    """
    return [_holding(broker, queue, facts or {}) for queue in sorted(queues)]


def _holding(broker: DutifulBroker, queue: str, facts: Mapping[str, Mapping[str, Any]]) -> Holding:
    work, dead = count(broker, queue), count(broker, topology.dead_queue(queue))
    known = facts.get(queue, {})
    since = known.get("head_message_timestamp")
    return Holding(
        queue=queue,
        ready=work.ready if work else None,
        unacked=known.get("messages_unacknowledged"),
        dead=dead.ready if dead else None,
        consumers=work.consumers if work else None,
        oldest_seconds=max(0.0, time.time() - since) if isinstance(since, int) else None,
        missing=work is None or dead is None,
    )


def _add_notes(result: Holdings, *, with_management: bool, with_facts: bool) -> None:
    missing = [each.queue for each in result.queues if each.missing]
    if missing or result.delayed is None:
        what = ", ".join(missing) or "the delay ladder"
        result.notes.append(f"{what}: missing, or without its dead queue. Make it: dutiful queues declare")
    if not with_management:
        result.notes.append(NO_MANAGEMENT)
    elif with_facts and any(each.ready and each.oldest_seconds is None for each in result.queues):
        result.notes.append(NO_AGE)
    result.notes.append(ONE_TOTAL)
    if result.undeliverable:
        result.notes.append(f"{result.undeliverable} {UNDELIVERABLE}")


def count(broker: DutifulBroker, queue: str) -> Count | None:
    """What AMQP tells of a queue; None when there is no such queue."""
    try:
        answer = ask(broker, partial(_look, queue))
    except amqp.ChannelClosedByBroker as error:
        if error.reply_code == NOT_FOUND:
            return None
        raise BrokerUnreachable(
            f"the queue {queue} can't be looked at", expected="a user that may read it", received=error.reply_text
        ) from None
    return Count(answer.method.message_count, answer.method.consumer_count)


def ask(broker: DutifulBroker, act: Callable[[Any, Callable[[Any], None]], None]) -> Any:
    """Do something on a channel of its own, and return what it answers.

    Raises:
      pika.exceptions.ChannelClosedByBroker: the broker refused.
      BrokerUnreachable: there is no connection.
    """
    try:
        return broker.publisher.ask(act, SECONDS)
    except amqp.ChannelClosedByBroker:
        raise
    except (amqp.AMQPError, TimeoutError, OSError) as error:
        raise unreachable(error, ending="") from error


def _look(queue: str, channel: Any, answer: Callable[[Any], None]) -> None:
    channel.queue_declare(queue, passive=True, callback=answer)


def first_host(broker: DutifulBroker) -> Any:
    """The parameters of the first address in DUTIFUL_RABBITMQ__URL: all have the same vhost and user."""
    return broker.parameters[0] if isinstance(broker.parameters, list) else broker.parameters


def vhost_of(broker: DutifulBroker) -> str:
    """The vhost's name."""
    return str(first_host(broker).virtual_host)


def management_of(broker: DutifulBroker, url: str | None) -> Management | None:
    """The management API beside a broker, where its address is known."""
    if url is None:
        return None
    who = first_host(broker).credentials
    user, password = getattr(who, "username", ""), getattr(who, "password", "")  # a certificate has neither
    context = client_context(broker.ca_path) if url.startswith("https:") else None
    return Management(url, vhost=vhost_of(broker), user=user, password=password, context=context)
