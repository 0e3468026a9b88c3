"""The lookout sees every two seconds whether the gateway has what it lives on: the store, the tokens, RabbitMQ."""

import logging
import threading
import time
from functools import partial
from typing import Final

import structlog
from dramatiq.errors import ConnectionClosed
from sqlalchemy.exc import SQLAlchemyError

from workers import adoption
from workers.errors import BrokerUnreachable, ConfigurationError, DutifulError, StoreUnavailable
from workers.gateway import metrics
from workers.gateway.door import Door
from workers.job_broker import JobBroker
from workers.rabbitmq import DutifulBroker
from workers.store.readiness import make_ready, packages_of
from workers.transport import topology

_LOOK_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 5.0
_SILENT_SECONDS: Final = 30.0

_log = structlog.stdlib.get_logger("dutiful.gateway")


class Lookout:
    """Prepares the gateway, and goes on looking from a thread of its own.

    Parameters:
      door: is told to read the tokens.
    """

    def __init__(self, broker: JobBroker, door: Door) -> None:
        self.broker = broker
        self.door = door
        self._prepared = False
        self._problems = ["nothing was looked at yet"]
        self._looked_at = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dutiful-lookout", daemon=True)

    def begin(self) -> None:
        """Look for the first time, then go on. What is away now may come.

        Raises:
          ConfigurationError: something can't work, and waiting would not help.
        """
        try:
            self._prepare()
        except (StoreUnavailable, BrokerUnreachable, ConnectionClosed, SQLAlchemyError) as error:
            logging.getLogger(__name__).warning("the gateway begins without: %s", error)
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def problems(self) -> list[str]:
        """Why requests can't be served now; empty when they can. In general words: anybody may ask."""
        silent = time.monotonic() - self._looked_at
        return self._problems + ([f"nothing was looked at for {silent:.0f} s"] if silent > _SILENT_SECONDS else [])

    def look(self) -> None:
        """See what is there; it raises nothing that an outage causes."""
        problems: dict[str, str] = {}
        for what, act in (
            ("the gateway is not set up", self._prepare),
            ("the store can't be used", self._look_at_tokens),
            ("RabbitMQ can't be used", self._look_at_rabbitmq),
        ):
            try:
                act()
            except (DutifulError, ConnectionClosed, SQLAlchemyError) as error:
                problems[what] = " ".join(str(error).split())
        if list(problems) != self._problems:
            if problems:
                _log.warning("gateway_unwell", reasons=problems)
            else:
                _log.info("gateway_well")
        self._problems, self._looked_at = list(problems), time.monotonic()
        metrics.ready.set(not problems)

    def _prepare(self) -> None:
        if self._prepared:
            return
        make_ready(self.broker.store, packages_of(self.broker.actors.values()))
        if isinstance(self.broker, DutifulBroker):
            adoption.belong(self.broker)
            for queue in sorted(self.broker.get_declared_queues()):
                self.broker.declare_queue(queue, ensure=True)
        self._prepared = True

    def _look_at_tokens(self) -> None:
        if self._prepared:  # else this may be another store than the vhost's, and nobody is let in
            self.door.look()

    def _look_at_rabbitmq(self) -> None:
        if not isinstance(self.broker, DutifulBroker):
            return
        for queue in sorted(self.broker.get_declared_queues())[:1]:
            self.broker.ask(partial(topology.look, queue), _ANSWER_SECONDS)
        if self.broker.publisher.is_blocked:
            raise ConfigurationError(
                "RabbitMQ takes no messages", expected="a broker without a memory or disk alarm", received="an alarm"
            )

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                logging.getLogger(__name__).warning("the gateway could not look", exc_info=True)
