"""CurrentJob gives a running function its `current_job()`."""

from typing import Any

from dramatiq import Broker, Middleware
from sqlalchemy import Engine

from workers.delivery import Delivery
from workers.job import Job, enter


class CurrentJob(Middleware):
    """Makes the job known to the thread that runs it.

    Parameters:
      engine: the store's, for the job's own small transactions.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Begin."""
        job = Job(
            id=message.message_id,
            actor=message.actor_name,
            attempt=message.attempt,
            generation=message.generation,
            engine=self.engine,
        )
        message.job = job
        enter(job)

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """End."""
        enter(None)

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """End."""
        enter(None)
