"""What RabbitMQ lets this user do is asked of RabbitMQ itself, by asking for what has no effect."""

import shlex
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from pika import exceptions as amqp

from workers.doctor.line import Line, ok, wrong
from workers.errors import BrokerUnreachable
from workers.queues import NOT_FOUND, ask, first_host, vhost_of
from workers.rabbitmq import DutifulBroker
from workers.roles import worker
from workers.transport import topology

_REFUSED: Final = 403
_BAD_ARGUMENT: Final = 406
_NOWHERE: Final = "dutiful.doctor"  # no queue is bound by it, so that RabbitMQ returns the message
_CHECK: Final = "permissions"
LOOK_AT_ALARMS: Final = "rabbitmq-diagnostics alarms # tells which; then make room on that node's disk, or memory"


def permissions(broker: DutifulBroker, queues: Iterable[str]) -> list[Line]:
    """Whether the user may do what a worker must.

    Raises:
      BrokerUnreachable: there is no connection, or RabbitMQ takes no messages.
    """
    work = sorted(queues)
    levels = [topology.level(number) for number in range(topology.LEVELS)]
    asked: list[tuple[str, str, Any]] = [
        *(("configure", name, partial(_declare_passively_then_again, name)) for name in (topology.JOBS,)),
        *(("write", name, partial(_publish_nowhere, name)) for name in (topology.JOBS, "", *levels)),
        *(("read", name, partial(_consume_wrongly, name)) for name in work),
    ]
    refused = [f"{right} {name or 'amq.default'}" for right, name, act in asked if not _may(broker, act)]
    if not refused:
        return ok(_CHECK, f"{user(broker)} may configure, write and read what a worker must")
    return [wrong_rights(broker, work, refused)]


def wrong_rights(broker: DutifulBroker, queues: Iterable[str], refused: list[str]) -> Line:
    """What the user may not do, and the command that lets it."""
    shown = ", ".join(refused[:6]) + (f" and {len(refused) - 6} more" if len(refused) > 6 else "")  # noqa: PLR2004
    return wrong(
        _CHECK,
        f"RabbitMQ refuses what a worker must do: {shown}",
        expected="a user with a worker's permissions",
        received=f"the user {user(broker)}",
        mend=grant(broker, queues),
    )


def grant(broker: DutifulBroker, queues: Iterable[str]) -> str:
    """The command that lets this user do what a worker must."""
    role = worker(queues)
    words = (vhost_of(broker), user(broker), role.configure, role.write, role.read)
    return f"rabbitmqctl set_permissions -p {shlex.join(words)}"


def answered(broker: DutifulBroker, queues: Iterable[str]) -> list[Line]:
    """What the user may do, and whether RabbitMQ takes messages: with an alarm for memory or disk it reads none.

    It reads nothing else of this connection then, so ask this last.

    Raises:
      BrokerUnreachable: there is no connection.
    """
    try:
        return [*permissions(broker, queues), *ok("alarms", "RabbitMQ takes messages")]
    except BrokerUnreachable:
        if not broker.publisher.is_blocked:
            raise
    return [
        wrong(
            "alarms",
            "RabbitMQ has raised an alarm for memory or disk, and takes no messages",
            expected="room above disk_free_limit, and memory below vm_memory_high_watermark",
            received="connection.blocked",
            mend=LOOK_AT_ALARMS,
        )
    ]


def user(broker: DutifulBroker) -> str:
    """Whom RabbitMQ knows this process as."""
    return str(getattr(first_host(broker).credentials, "username", "a certificate"))


def _may(broker: DutifulBroker, act: Callable[[Any, Callable[[Any], None]], None]) -> bool:
    try:
        ask(broker, act)
    except amqp.ChannelClosedByBroker as error:
        if error.reply_code == _REFUSED:
            return False
        if error.reply_code in {_BAD_ARGUMENT, NOT_FOUND}:
            return True  # it was let in, and then met what is told elsewhere
        raise BrokerUnreachable("RabbitMQ refuses", expected="an answer", received=error.reply_text) from None
    return True


def _declare_passively_then_again(exchange: str, channel: Any, answer: Callable[[Any], None]) -> None:
    again = partial(channel.exchange_declare, exchange, "direct", durable=True, callback=answer)
    channel.exchange_declare(exchange, passive=True, callback=lambda _: again())


def _publish_nowhere(exchange: str, channel: Any, answer: Callable[[Any], None]) -> None:
    channel.add_on_return_callback(lambda *_: answer(None))
    channel.basic_publish(exchange, _NOWHERE, b"", mandatory=True)


def _consume_wrongly(queue: str, channel: Any, answer: Callable[[Any], None]) -> None:
    # RabbitMQ looks at the permission first, then refuses the argument: no message is handed out.
    channel.basic_consume(queue, lambda *_: None, arguments={"x-priority": "none"}, callback=answer)
