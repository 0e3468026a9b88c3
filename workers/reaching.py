"""Reaching RabbitMQ ends when it answers, or as soon as it is known that nobody does: a connection tries for ever."""

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from threading import Thread
from typing import Any, Final

from pika import exceptions as amqp
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from workers.errors import BrokerUnreachable
from workers.rabbitmq import DutifulBroker
from workers.transport.refusal import UNTRUSTED, hopeless, unreachable

SECONDS: Final = 6.0  # a person waits for it
_LOOK_SECONDS: Final = 0.02
_MORE_SECONDS: Final = 1.0


def reach(broker: DutifulBroker, seconds: float = SECONDS) -> None:
    """Connect.

    Raises:
      BrokerUnreachable: each of its hosts was tried, and none can be reached; or none has answered in time.
      ConfigurationError: it refuses this user or vhost.
    """
    asked = begin(partial(broker.publisher.ask, _nothing, seconds))
    # At its deadline the question ends by itself, and says why: it is given a moment more for that.
    why = patient(asked, time.monotonic() + seconds + _MORE_SECONDS, lambda: refused(broker))
    if why is not None:
        raise why
    try:
        asked.result(0)
    except (amqp.AMQPError, AMQPConnectorException, TimeoutError, OSError) as error:
        raise hopeless(error) or unreachable(error, ending="") from error


def refused(broker: DutifulBroker) -> BrokerUnreachable | None:
    """Why there is no connection, once each host was tried; None: one of them may still answer."""
    publisher = broker.publisher
    if publisher.link.losses < len(publisher.link.hosts):
        return None
    said = publisher.unreachable()
    return said if said.what == UNTRUSTED else unreachable(said.received, ending="")


def begin(act: Callable[[], Any]) -> Future[Any]:
    """Do something in a thread that keeps nobody: the process ends without it when it hangs."""
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(act())
        except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
            answer.set_exception(error)

    Thread(target=run, daemon=True).start()
    return answer


def patient(
    asked: Future[Any], deadline: float, refusal: Callable[[], BrokerUnreachable | None] = lambda: None
) -> BrokerUnreachable | None:
    """Wait for an answer until the deadline, or until waiting longer is of no use: then, why.

    Parameters:
      deadline: by time.monotonic.
    """
    while not asked.done() and time.monotonic() < deadline:
        why = refusal()
        wait([asked], _LOOK_SECONDS)  # the question itself may have been told why, and in better words
        if why is not None and not asked.done():
            return why
    return None


def _nothing(_channel: Any, answer: Callable[[Any], None]) -> None:
    answer(None)
