"""VitalSigns looks every few seconds at what a worker process lives on, from a thread of its own."""

import logging
import os
import threading
from typing import Any, Final

from dramatiq import Broker, Middleware
from sqlalchemy import Engine

from workers import exposition, health
from workers.asking import Asking
from workers.limits import Limits

_LOOK_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 12.0
_MARGIN_SECONDS: Final = 10.0

_log = logging.getLogger(__name__)


class VitalSigns(Middleware):
    """Shows links, store, queues and memory as metrics, and leaves for /health what is wrong with them.

    It is not there on a broker in memory, which has neither links nor other processes.

    Parameters:
      engine: the store's.
      limits: how long jobs may run.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine = engine
        self.limits = limits
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        """Begin to look."""
        if not isinstance(broker, Asking) or not exposition.is_shared():
            return
        self._stopping.clear()
        self._thread = threading.Thread(
            target=self._run, args=(broker, worker), name="dutiful-vital-signs", daemon=True
        )
        self._thread.start()

    def before_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Say that nothing new is taken."""
        self._stopping.set()
        if self._thread is not None:
            health.say(exposition.shared(), ready=["it stops, and takes nothing new"], progress=[])

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Leave nothing behind: what a process that has ended said of itself isn't true any more."""
        if self._thread is None:
            return
        self._thread.join(_STOP_SECONDS)
        self._thread = None
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  not before share()

        mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
        health.fall_silent(exposition.shared())

    def _run(self, broker: Any, worker: Any) -> None:
        from workers import vital_signs  # noqa: PLC0415  not before share()

        signs = vital_signs.VitalSigns(
            broker, self.engine, threads=worker.worker_threads, patience=self._patience(broker, worker)
        )
        while True:
            try:
                found = signs.look()
            except Exception:  # noqa: BLE001  without this thread /health would keep saying what it said last
                _log.warning("the worker could not be looked at", exc_info=True)
            else:
                if not self._stopping.is_set():
                    health.say(exposition.shared(), ready=found.ready, progress=found.progress)
            if self._stopping.wait(_LOOK_SECONDS):
                return

    def _patience(self, broker: Broker, worker: Any) -> dict[str, float]:
        """How long each queue may stand still: as long as one of its jobs may run."""
        consumed = worker.consumer_whitelist or broker.get_declared_queues()
        longest = dict.fromkeys(consumed & broker.get_declared_queues(), 0.0)
        for actor in broker.actors.values():
            if actor.queue_name in longest:
                soft, _ = self.limits.of(actor.options, {})
                longest[actor.queue_name] = max(longest[actor.queue_name], soft)
        default = self.limits.soft.total_seconds()
        return {queue: (seconds or default) + _MARGIN_SECONDS for queue, seconds in longest.items()}
