"""TimeLimit tells a job its deadline, and is Dramatiq's in everything else."""

from datetime import timedelta

from dramatiq import Broker
from dramatiq.middleware import time_limit

from workers.clock import utcnow
from workers.delivery import Delivery


class TimeLimit(time_limit.TimeLimit):
    """Raises TimeLimitExceeded in a thread whose job runs for too long; `current_job().deadline` is that moment."""

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Begin to count."""
        super().before_process_message(broker, message)  # type: ignore[no-untyped-call]
        options = broker.get_actor(message.actor_name).options
        limit = message.options.get("time_limit") or options.get("time_limit", self.time_limit)
        if message.job is not None and limit != float("inf"):
            message.job.deadline = utcnow() + timedelta(milliseconds=limit)
