"""CurrentJob gives a running function its `current_job()`."""

from typing import Any

from dramatiq import Broker, Middleware
from sqlalchemy import Engine

from workers.current import enter
from workers.delivery import Delivery
from workers.job import Job


class CurrentJob(Middleware):
    """Makes the job known to the thread that runs it.

    Parameters:
      engine: the store's, for the job's own small transactions.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def prepare(self, broker: Broker, deliveries: list[Delivery]) -> None:
        """Make each message's job."""
        for delivery in deliveries:
            delivery.job = Job(
                id=delivery.message_id,
                actor=delivery.actor_name,
                attempt=delivery.attempt,
                generation=delivery.generation,
                engine=self.engine,
            )

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Begin."""
        enter(message.job)

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """End."""
        enter(None)

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """End."""
        enter(None)
