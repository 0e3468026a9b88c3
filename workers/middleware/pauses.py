"""Pauses reads each second what is paused, has the broker obey, and lets no job of it begin."""

import logging
import threading
from collections.abc import Collection
from datetime import timedelta
from typing import Any, Final

from dramatiq import Broker, Middleware
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from workers.delivery import Delivery
from workers.errors import Deferred, DutifulError
from workers.parking import Parking
from workers.returns import Returns
from workers.store import pauses
from workers.store.engine import begin, read_only
from workers.store.pauses import Pause

_LOOK_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 5.0
_SOON: Final = timedelta(seconds=1)

_Name = tuple[str, str]  # kind and name

_log = logging.getLogger(__name__)


class Pauses(Middleware):
    """Obeys pauses within two seconds. While the store is away, what was paused stays paused.

    A broker in memory knows no pauses.

    Parameters:
      engine: the store's.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._known: dict[_Name, Pause] = {}
        self._stopping = threading.Event()
        self._returns = Returns(self._stopping)
        self._threads: list[threading.Thread] = []

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        """Obey before anything is consumed, then keep looking."""
        if not isinstance(broker, Parking):
            return
        self._stopping.clear()
        self._look(broker)
        self._threads = [
            threading.Thread(target=self._keep_looking, args=(broker,), name="dutiful-pauses", daemon=True),
            threading.Thread(target=self._returns.run, args=(broker,), name="dutiful-returns", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def before_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Let what is in hand be the last."""
        self._stopping.set()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Wait for it."""
        for thread in self._threads:
            thread.join(_STOP_SECONDS)
        self._threads = []

    def before_process_message(self, broker: Broker, message: Any) -> None:
        """Put back what was handed out before the pause; the next time it waits with the others."""
        assert isinstance(message, Delivery)  # noqa: S101  narrows the type
        if isinstance(broker, Parking) and (
            message.queue_name in broker.paused_queues or message.actor_name in broker.paused_actors
        ):
            raise Deferred(f"{message.actor_name} on {message.queue_name} is paused", why="paused", delay=_SOON)

    def _keep_looking(self, broker: Parking) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            self._look(broker)

    def _look(self, broker: Parking) -> None:
        try:
            with begin(read_only(self.engine)) as connection:
                found = pauses.read(connection)
        except (DutifulError, SQLAlchemyError) as error:
            _log.debug("pauses can't be read now: %s", error)  # the lease's thread says it aloud
            return
        active: dict[_Name, Pause] = {(each.kind, each.name): each for each in found if each.active}
        over = [each for each in found if each.kind == "actor" and not each.active]
        self._returns.ended = {each.name: each.until for each in over if each.until}
        broker.pause(*(frozenset(name for kind, name in active if kind == wanted) for wanted in ("queue", "actor")))
        for new in active.keys() - self._known.keys():
            _log.warning("the %s %s is paused: %s", *new, active[new].reason)
        for old in self._known.keys() - active.keys():
            _log.warning("the %s %s goes on", *old)
        show(broker, self._known | active, active)
        self._known = active


def show(broker: Parking, known: Collection[_Name], active: Collection[_Name]) -> None:
    """Set the metric of everything that can be paused here, and of what is elsewhere."""
    from workers import metrics  # noqa: PLC0415  not before share()

    here = {("queue", queue) for queue in broker.queues} | {("actor", actor) for actor in broker.actors}
    for kind, name in here | set(known):
        metrics.paused.labels(kind, name).set(int((kind, name) in active))
