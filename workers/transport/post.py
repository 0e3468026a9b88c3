"""A post is one message on its way to the broker, and the promise to say how it went."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

import pika

from ..errors import PublishError, PublishRefused, PublishUnconfirmed, QueueMissing


def _closed_gate() -> Lock:
    gate = Lock()
    gate.acquire()
    return gate


@dataclass(slots=True)
class Post:
    """One message to be published: where to, what, and by when.

    Attributes:
      deadline: by the monotonic clock, in seconds.
      repeatable: when the connection is lost before the confirm, it may be sent again; a key makes that one job.
      sent: it has been on its way, so it may have arrived.
      returned: the broker had no queue for it.
      is_done: it is known how it went.
      told: called when it is, on the link's thread; an event loop can't wait for the gate.
    """

    exchange: str
    routing_key: str
    body: bytes
    properties: pika.BasicProperties
    deadline: float
    repeatable: bool = True
    sent: bool = False
    returned: bool = False
    is_done: bool = False
    told: Callable[[], None] | None = None
    _error: PublishError | None = None
    # Released when it is done. A future takes several locks, and each may cost a system call.
    _gate: Lock = field(default_factory=_closed_gate)

    @property
    def where(self) -> str:
        """Where to, for error messages."""
        return f"for {self.exchange or 'the default exchange'} {self.routing_key}"

    def wait(self, seconds: float) -> None:
        """Wait until the broker has confirmed it.

        Raises:
          PublishError: it was not, or perhaps not, taken; the kind of error says which.
        """
        if not self.is_answered(seconds):
            raise PublishUnconfirmed("the publishing thread did not answer", expected="an answer in time")
        if self._error is not None:
            raise self._error

    def is_answered(self, seconds: float) -> bool:
        """Wait so long until it is known how it went; whether it is."""
        if not self.is_done and self._gate.acquire(timeout=seconds):
            self._gate.release()  # for who else may wait
        return self.is_done

    def confirm(self, *, accepted: bool) -> None:
        """The broker has answered."""
        if self.returned:
            self.fail(QueueMissing("RabbitMQ returned the message", expected="a queue", received=f"none {self.where}"))
        elif not accepted:
            self.fail(
                PublishRefused("RabbitMQ refused the message", expected="an ack", received=f"a nack {self.where}")
            )
        else:
            self._end()

    def lose(self, why: str) -> None:
        """The broker has not answered, and will not."""
        self.fail(
            PublishUnconfirmed(
                "RabbitMQ did not confirm the message", expected="a confirm in time", received=f"{why}, {self.where}"
            )
        )

    def fail(self, error: PublishError) -> None:
        """It ends with this error."""
        if not self.is_done:
            self._error = error
            self._end()

    def _end(self) -> None:
        if not self.is_done:  # the first answer counts
            self.is_done = True
            self._gate.release()
            if self.told is not None:
                self.told()
