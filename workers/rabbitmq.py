"""RabbitMQ as Dramatiq sees it: a broker on our transport."""

import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from dramatiq import Worker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.common import iter_queue, q_name
from dramatiq.errors import ConnectionClosed

from workers.asking import DECLARE_SECONDS
from workers.consumer import RabbitmqConsumer
from workers.delivery import Delivery
from workers.errors import AnotherStore, ConfigurationError
from workers.garbage import collect_less_often
from workers.parking import Parking
from workers.transport import topology
from workers.transport.connection import bound
from workers.transport.intake import Intake
from workers.transport.publisher import Publisher
from workers.work_queue import WorkQueue

_EXIT_UNUSABLE: Final = 66
_EXIT_ANOTHER_STORE: Final = 67
_IDLE_THREADS: Final = 8


class DutifulBroker(Parking, RabbitmqBroker):
    """RabbitMQ with quorum queues, confirms on every message, and delays that the broker keeps.

    Two connections a process, made when they are first needed, anew in a forked child.

    Parameters:
      those of RabbitmqBroker; `confirm_delivery` is always on and `max_priority` is refused.
      heartbeat_seconds: how often the link is checked.
      connect_timeout_seconds: the longest that one try to connect may take.
      publish_timeout_seconds: by when a message must be confirmed.
      max_message_bytes: a larger message is refused.
      ca_path: the authorities that may sign RabbitMQ's certificate; None: those that this system trusts.
    """

    def __init__(
        self,
        *,
        confirm_delivery: bool = True,
        max_priority: int | None = None,
        heartbeat_seconds: int = 10,
        connect_timeout_seconds: int = 5,
        publish_timeout_seconds: int = 10,
        max_message_bytes: int = 1_048_576,
        ca_path: Path | None = None,
        **options: Any,
    ) -> None:
        if not confirm_delivery or max_priority is not None:
            raise ConfigurationError(
                "the broker can't be built like this",
                expected="confirm_delivery left on, and no max_priority: quorum queues have none",
                received=f"confirm_delivery={confirm_delivery}, max_priority={max_priority}",
            )
        try:
            super().__init__(confirm_delivery=True, **options)
        except ValueError:
            raise ConfigurationError(
                "the address of RabbitMQ can't be read",
                expected="DUTIFUL_RABBITMQ__URL=amqp://user:password@host:5672/vhost, with a password's / as %2F",
            ) from None  # the error may hold a part of the password
        self.max_message_bytes = max_message_bytes
        self.publish_timeout_seconds = publish_timeout_seconds
        self._lock = threading.Lock()
        self._declaring = threading.Lock()
        self._vhost_declared = False
        self._threads = _IDLE_THREADS
        self._worker: Worker | None = None
        self._publisher: Publisher | None = None
        self._intake: Intake | None = None
        if hasattr(os, "register_at_fork"):
            me = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _forget_the_parent(me()))
        self.ca_path = ca_path
        self._hosts = self.parameters if isinstance(self.parameters, list) else [self.parameters]
        bound(
            self._hosts,
            heartbeat_seconds=heartbeat_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            ca_path=ca_path,
        )

    # Connections

    @property
    def publisher(self) -> Publisher:
        """This process's publishing connection."""
        if self._publisher is not None:
            return self._publisher
        with self._lock:
            if self._publisher is None:
                self._publisher = Publisher(self._hosts, name="dutiful-publisher")
            return self._publisher

    @property
    def intake(self) -> Intake:
        """This process's consuming connection."""
        if self._intake is not None:
            return self._intake
        with self._lock:
            if self._intake is None:
                self._intake = Intake(self._hosts, name="dutiful-intake", threads=self._threads)
            return self._intake

    def forget_the_parent(self) -> None:
        """In a forked child: the connections and the threads that serve them are the parent's."""
        self._lock, self._declaring = threading.Lock(), threading.Lock()
        self._publisher = self._intake = None

    def close(self) -> None:
        """Settle what is settled, and close both connections; a worker that had to stop ends with its status."""
        super().close()
        with self._lock:
            intake, self._intake = self._intake, None
            publisher, self._publisher = self._publisher, None
        for each in (intake, publisher):
            if each is not None:
                each.close()
        if self.exit_status:
            raise SystemExit(self.exit_status)

    # A worker's life

    def emit_other_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Before a worker boots, make sure that its queues can be used; before it stops, fetch no more."""
        if signal == "worker_boot":
            self._worker, self._threads = args[0], args[0].worker_threads
            args[0].work_queue = WorkQueue()
        if signal == "worker_shutdown":
            self.is_stopping = True
            self.intake.stop()
            self.hand_back_what_waits()
        super().emit_other_before(signal, *args, **kwargs)
        if signal == "worker_boot":
            self._refuse_a_broker_that_cannot_work(args[0])  # now that the store has said who it is

    def emit_other_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """After a worker process has begun, look for garbage less often there."""
        super().emit_other_after(signal, *args, **kwargs)
        if signal == "process_boot":
            collect_less_often()

    def _refuse_a_broker_that_cannot_work(self, worker: Worker) -> None:
        # What was declared before the boot was declared without the store.
        self._vhost_declared = False
        self.queues_pending |= self.queues
        try:
            for queue in sorted(self.queues):
                self.declare_queue(queue, ensure=True)
        except ConnectionClosed as error:
            self.logger.warning("RabbitMQ can't be reached yet: %s", error)  # the consumers go on trying
        except ConfigurationError as error:
            self.logger.critical("RabbitMQ can't be used: %s", error)
            # The hooks end what they began: it would keep the process.
            super().emit_other_before("worker_shutdown", worker)
            self.emit_after("worker_shutdown", worker)
            status = _EXIT_ANOTHER_STORE if isinstance(error, AnotherStore) else _EXIT_UNUSABLE
            raise SystemExit(status) from None  # trying again would never help

    def hand_back_what_waits(self) -> None:
        """Hand back what Dramatiq has not given to a thread."""
        if self._worker is None:
            return
        for item in iter_queue(self._worker.work_queue):  # type: ignore[no-untyped-call]
            self.conclude(cast("Delivery", item.message))  # not settled, so it is handed back
            self._worker.work_queue.task_done()

    @property
    def consumer_class(self) -> type[RabbitmqConsumer]:
        """The consumer that Dramatiq's worker reads from."""
        return RabbitmqConsumer

    # Queues

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Make a queue known to this process; with `ensure`, to RabbitMQ.

        Dramatiq hears of no delay queue: RabbitMQ keeps the delays, and no worker holds messages for later.

        Raises:
          ConnectionClosed: RabbitMQ can't be reached.
          ConfigurationError: it can, and trying again would never help.
        """
        name = q_name(queue_name)
        if name not in self.queues:
            self.emit_before("declare_queue", name)
            self.queues.add(name)
            self.queues_pending.add(name)
            self.emit_after("declare_queue", name)
        if ensure:
            self._ensure_queue(name)

    def _ensure_queue(self, canonical_queue_name: str, seconds: float = DECLARE_SECONDS) -> None:
        if canonical_queue_name not in self.queues_pending:
            return
        deadline = time.monotonic() + seconds
        if not self._declaring.acquire(timeout=seconds):
            raise ConnectionClosed(TimeoutError("another thread waits for RabbitMQ"))  # type: ignore[no-untyped-call]
        try:
            if canonical_queue_name not in self.queues_pending:
                return
            self.ask(partial(self._declare, canonical_queue_name), max(0, deadline - time.monotonic()))
            self._vhost_declared = True
            self.queues_pending.discard(canonical_queue_name)
        finally:
            self._declaring.release()

    def _declare(self, queue: str, channel: Any, answer: Callable[[Any], None]) -> None:
        if not self._vhost_declared:
            topology.declare_vhost(channel)
            if self.store_id is not None:
                topology.declare_store(channel, self.store_id)
        topology.declare_queue(channel, queue)
        # RabbitMQ works in order: when it has answered this, all of the above is done.
        channel.queue_declare(queue, passive=True, callback=answer)


def _forget_the_parent(broker: DutifulBroker | None) -> None:
    if broker is not None:
        broker.forget_the_parent()
