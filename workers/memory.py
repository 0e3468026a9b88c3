"""A broker inside the process, for tests: the same middleware and the same rules, another place to keep messages."""

import itertools
import queue
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from dramatiq import Consumer, Message
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import join_queue
from dramatiq.errors import QueueNotFound

from workers import clock
from workers.admission import Admission
from workers.delivery import Carried, Delivery
from workers.errors import QueueMissing
from workers.job_broker import JobBroker


class MemoryBroker(JobBroker, StubBroker):
    """Keeps messages in memory; they are gone when the process ends.

    Attributes:
      published: every message that was sent, in order.
      buried: every dead letter, with its headers.
      delayed: what waits for its time: due time, order, message.
      outcomes: how each delivery ended, in order: actor, verdict.
    """

    def __init__(self, middleware: list[Any] | None = None) -> None:
        super().__init__(middleware, fail_fast_default=False)
        self.published: list[Message[Any]] = []
        self.buried: list[tuple[Message[Any], Mapping[str, Any]]] = []
        self.delayed: list[tuple[datetime, int, Message[Any]]] = []
        self.outcomes: list[tuple[str, str]] = []
        self._order = itertools.count()

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Make a queue; as on RabbitMQ, Dramatiq hears of no delay queue."""
        if queue_name in self.queues:
            return
        self.emit_before("declare_queue", queue_name)
        self.queues[queue_name] = queue.Queue()
        self.emit_after("declare_queue", queue_name)

    def send_to_queue(self, message: Carried, delay: int | None) -> None:
        """Keep a message until it is due."""
        if message.queue_name not in self.queues:
            raise QueueMissing("there is no such queue", expected="an actor on it", received=message.queue_name)
        plain = message.copy()
        self.published.append(plain)
        if delay:
            due = clock.utcnow() + timedelta(milliseconds=delay)
            self.delayed.append((due, next(self._order), plain))
        else:
            self.queues[plain.queue_name].put(plain.encode())

    def release_due(self) -> bool:
        """Move every delayed message whose time has come to its queue; True when there was one."""
        now = clock.utcnow()
        due = sorted(entry for entry in self.delayed if entry[0] <= now)
        self.delayed = [entry for entry in self.delayed if entry[0] > now]
        for _, _, message in due:
            self.queues[message.queue_name].put(message.encode())
        return bool(due)

    def bury(self, message: Carried, headers: Mapping[str, Any]) -> None:
        """Keep a dead letter."""
        self.buried.append((message.copy(queue_name=message.queue_name), dict(headers)))

    def join(self, queue_name: str, *, timeout: int | None = None, fail_fast: bool | None = None) -> None:
        """Wait until every message of a queue has been dealt with."""
        join_queue(self.queues[queue_name], timeout=timeout and timeout / 1000)  # type: ignore[no-untyped-call]

    def clear(self) -> None:
        """Forget every message."""
        for waiting in self.queues.values():
            with waiting.mutex:
                waiting.queue.clear()
                waiting.unfinished_tasks = 0
        for kept in (self.published, self.buried, self.delayed, self.outcomes):
            kept.clear()

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 100) -> Consumer:
        """A consumer of one queue."""
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)  # type: ignore[no-untyped-call]
        return _MemoryConsumer(self, queue_name, timeout)


class _MemoryConsumer(Consumer):
    """Hands messages to Dramatiq's worker as the RabbitMQ consumer does."""

    is_gone = False

    def __init__(self, broker: MemoryBroker, queue_name: str, timeout: int) -> None:
        self.broker = broker
        self.queue_name = queue_name
        self.queue: queue.Queue[bytes] = broker.queues[queue_name]
        self.timeout = timeout / 1000
        self.admission = Admission(broker)

    def __next__(self) -> Delivery | None:
        self.admission.admit(self._receive())
        return self.admission.ready.popleft() if self.admission.ready else None

    def _receive(self) -> list[Delivery]:
        try:
            data = self.queue.get(timeout=self.admission.wait(self.timeout))
        except queue.Empty:
            return []
        delivery = Delivery(Message.decode(data), consumer=self)
        if self.broker.turn_away(delivery, self.queue_name):
            self.queue.task_done()
            return []
        return [delivery]

    def ack(self, message: Any) -> None:
        """Dramatiq is done with a message."""
        self.broker.conclude(message)

    nack = ack

    def widen(self, delivery: Delivery) -> None:
        """There is room for any number here."""

    def settle(self, delivery: Delivery) -> None:
        """Forget a settled message; put any other back."""
        if delivery.outcome is not None:
            self.broker.outcomes.append((delivery.actor_name, delivery.outcome.verdict))
        if not delivery.settled:
            self.queue.put(delivery.encode())
        self.queue.task_done()
