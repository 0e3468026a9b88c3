"""StuckJobs charges an attempt that never ended to its job, at the end of the process that it ran in."""

from typing import Any

from dramatiq import Broker, Middleware

from workers.limits import HardTimeLimitExceeded
from workers.middleware.time_limit import TimeLimit


class StuckJobs(Middleware):
    """Ends what TimeLimit gave up and what still runs, as a failed attempt, when nothing else runs any more.

    Parameters:
      time_limit: who gave it up.
    """

    def __init__(self, time_limit: TimeLimit) -> None:
        self.time_limit = time_limit

    def before_consumer_thread_shutdown(self, broker: Broker, thread: Any) -> None:
        """The other threads have ended, and the channels are open still."""
        watch = self.time_limit.watch
        for attempt in watch.take_stuck() if watch is not None else ():
            error = HardTimeLimitExceeded("it was stuck past its hard limit, and ended with its process")
            broker.emit_after("process_message", attempt.delivery, exception=error)
            attempt.delivery.consumer.ack(attempt.delivery)
