"""A post is one message on its way to the broker, and the promise to say how it went."""

from concurrent.futures import Future
from dataclasses import dataclass, field

import pika

from workers.errors import PublishError, PublishRefused, PublishUnconfirmed, QueueMissing


@dataclass(slots=True)
class Post:
    """One message to be published: where to, what, and by when.

    Attributes:
      deadline: by the monotonic clock, in seconds.
      repeatable: when the connection is lost before the confirm, it may be sent again; a key makes that one job.
      result: done with None when the broker has confirmed it, or with the PublishError that says what happened.
      sent: it has been on its way, so it may have arrived.
    """

    exchange: str
    routing_key: str
    body: bytes
    properties: pika.BasicProperties
    deadline: float
    repeatable: bool = True
    result: "Future[None]" = field(default_factory=Future)
    sent: bool = False
    returned: bool = False

    @property
    def where(self) -> str:
        """Where to, for error messages."""
        return f"for {self.exchange or 'the default exchange'} {self.routing_key}"

    def confirm(self, *, accepted: bool) -> None:
        """The broker has answered."""
        if self.returned:
            self.fail(QueueMissing("RabbitMQ returned the message", expected="a queue", received=f"none {self.where}"))
        elif not accepted:
            self.fail(
                PublishRefused("RabbitMQ refused the message", expected="an ack", received=f"a nack {self.where}")
            )
        elif self.result.set_running_or_notify_cancel():
            self.result.set_result(None)

    def lose(self, why: str) -> None:
        """The broker has not answered, and will not."""
        self.fail(
            PublishUnconfirmed(
                "RabbitMQ did not confirm the message", expected="a confirm in time", received=f"{why}, {self.where}"
            )
        )

    def fail(self, error: PublishError) -> None:
        """It ends with this error."""
        if self.result.set_running_or_notify_cancel():
            self.result.set_exception(error)
