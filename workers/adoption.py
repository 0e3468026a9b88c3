"""Adopting gives a vhost to another store, on purpose and on record."""

from collections.abc import Callable, Iterable
from typing import Any

from dramatiq.errors import ConnectionClosed
from pika import exceptions as amqp

from workers.errors import AnotherStore, BrokerUnreachable, ConfigurationError
from workers.queues import ask, count, vhost_of
from workers.rabbitmq import DutifulBroker
from workers.store import audit
from workers.store.engine import begin
from workers.store.identity import identity_of
from workers.transport import topology
from workers.transport.refusal import hopeless


def adopt(broker: DutifulBroker, queues: Iterable[str], *, reason: str, who: str | None = None) -> str | None:
    """Let the vhost belong to the broker's store from now on.

    What waits in the queues is then judged by this store's keys alone: it runs again what only the other one knows.

    Parameters:
      queues: no worker may read these.
      who: for the audit trail; None: this process's user.

    Returns:
      the store that it belonged to; None: it belonged to this one, or to none.

    Raises:
      ConfigurationError: workers still consume, or the store has no identity.
      BrokerUnreachable: there is no connection.
      StoreUnavailable: the store can't be reached.
    """
    ours = identity_of(broker.store)
    theirs = _owner(broker, ours)
    if theirs is None:
        return None
    busy = [queue for queue in sorted(queues) if (found := count(broker, queue)) is not None and found.consumers]
    if busy:
        raise ConfigurationError(
            "the vhost can't be given to another store while workers of the other one run",
            expected="every worker and scheduler of this vhost stopped",
            received=f"consumers on {', '.join(busy)}",
        )

    def hand_over(channel: Any, answer: Callable[[Any], None]) -> None:
        channel.exchange_delete(topology.STORE)
        topology.declare_store(channel, ours, callback=answer)

    with begin(broker.store) as connection:
        # First, and in a transaction: a vhost that could not be handed over leaves no line.
        said = f"the vhost {vhost_of(broker)} belonged to store {theirs}"
        audit.write(connection, who=who or audit.operator(), action="adopted", reason=reason, detail=said)
        _asked(broker, hand_over)
    return theirs


def belong(broker: DutifulBroker) -> None:
    """Make sure that the vhost belongs to the broker's store; one that belonged to nobody does from now on.

    Raises:
      AnotherStore: it belongs to another one.
      ConfigurationError: the store has no identity.
      BrokerUnreachable: there is no connection.
      StoreUnavailable: the store can't be reached.
    """
    ours = broker.store_id = identity_of(broker.store)
    try:
        broker.ask(
            lambda channel, answer: topology.declare_store(channel, ours, callback=answer),
            broker.publish_timeout_seconds,
        )
    except ConnectionClosed as error:
        raise broker.publisher.unreachable() from error


def _owner(broker: DutifulBroker, ours: str) -> str | None:
    """The other store that the vhost belongs to; one that belonged to nobody belongs to this one now."""
    try:
        _asked(broker, lambda channel, answer: topology.declare_store(channel, ours, callback=answer))
    except AnotherStore as error:
        return error.owner
    return None


def _asked(broker: DutifulBroker, act: Callable[[Any, Callable[[Any], None]], None]) -> None:
    try:
        ask(broker, act)
    except amqp.ChannelClosedByBroker as error:
        raise hopeless(error) or BrokerUnreachable(
            "RabbitMQ refuses", expected="a user that may configure the vhost", received=error.reply_text
        ) from None
