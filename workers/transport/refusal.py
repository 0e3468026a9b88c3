"""A refusal of RabbitMQ's, in words: what waiting can't mend is a mistake in the set-up."""

import re
from typing import Final

from pika import exceptions as amqp

from ..errors import AnotherStore, BrokerBlocked, BrokerUnreachable, ConfigurationError, PublishRefused
from ..tls import complaint
from . import topology

_PRECONDITION_FAILED: Final = 406
_NOT_ALLOWED: Final = (403, 530)
_NOT_LET_IN: Final = (amqp.ProbableAuthenticationError, amqp.ProbableAccessDeniedError)
_STORES: Final = re.compile(
    rf"'{re.escape(topology.STORE)}\.([\w-]+)'"
)  # the one that was declared, then the one there


def hopeless(error: BaseException) -> ConfigurationError | None:
    """What to mend, when trying again would never help; None when it may."""
    code = getattr(error, "reply_code", None)
    if code == _PRECONDITION_FAILED:
        stores = _STORES.findall(str(getattr(error, "reply_text", error)))
        if len(stores) == 2:  # noqa: PLR2004  ours and theirs
            return _another_store(*stores)
        return ConfigurationError(
            "a queue or exchange of that name exists with other arguments",
            expected="a vhost that dutiful alone uses: rabbitmqctl add_vhost NAME",
            received=str(getattr(error, "reply_text", error)),
        )
    if isinstance(error, _NOT_LET_IN) or code in _NOT_ALLOWED:
        return ConfigurationError(
            "RabbitMQ refuses this user or vhost",
            expected="DUTIFUL_RABBITMQ__URL with a user that may configure, write and read its vhost; "
            "a missing vhost is made with: rabbitmqctl add_vhost NAME",
            received=repr(error),
        )
    return None


def _another_store(ours: str, theirs: str) -> AnotherStore:
    """The refusal of a process whose store is not the vhost's."""
    return AnotherStore(
        f"this vhost belongs to store {theirs}; this process has store {ours}",
        expected=f"DUTIFUL_STORE__URL with the address of store {theirs}, or DUTIFUL_RABBITMQ__URL with another vhost; "
        "to give the vhost to this store on purpose: dutiful store adopt",
        received=f"store {ours}",
        owner=theirs,
    )


def final(reason: BaseException) -> amqp.AMQPError | None:
    """What ends a question at once when a connection could not be made; None where the next try may answer it."""
    if isinstance(reason, _NOT_LET_IN):
        return reason
    if distrusted(reason) is None:
        return None
    return amqp.AMQPConnectionError(reason)  # pika has errors of another kind for TLS


def distrusted(error: BaseException | None) -> BrokerUnreachable | None:
    """The refusal of a server whose certificate is none for it; None where an error has nothing to do with TLS.

    It is tried again, since certificates are renewed, and nothing is said to a server before it is trusted.
    """
    said = complaint(error)
    if said is None:
        return None
    return BrokerUnreachable(
        "RabbitMQ's certificate is refused, so nothing was sent",
        expected="one for the host in DUTIFUL_RABBITMQ__URL, signed by an authority in DUTIFUL_RABBITMQ__CA_PATH, and "
        "still good",
        received=said,
    )


def unreachable(reason: BaseException | None) -> BrokerUnreachable:
    """There is no connection, for that reason, or for one that nobody has said."""
    return distrusted(reason) or BrokerUnreachable(
        "RabbitMQ can't be reached, so nothing was sent",
        expected="a broker at DUTIFUL_RABBITMQ__URL",
        received=repr(reason) if reason else "no connection before the deadline",
    )


def not_amqp(error: Exception) -> PublishRefused:
    """The error for a message with a name or header that AMQP has no form for."""
    return PublishRefused("a message can't be sent", expected="what AMQP can carry", received=repr(error))


def blocked(where: str) -> BrokerBlocked:
    """RabbitMQ has raised an alarm, and reads nothing that is published."""
    return BrokerBlocked(
        "RabbitMQ takes no messages, so nothing was sent",
        expected="a broker without a memory or disk alarm",
        received=f"connection.blocked, {where}",
    )
