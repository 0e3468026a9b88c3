"""TimeLimit holds jobs to their limits: the soft one interrupts a job, the hard one gives it up."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import dramatiq
from dramatiq import Broker, Middleware, Worker

from workers.delivery import Delivery
from workers.guard import run_next, watched
from workers.hooks import HookedBroker
from workers.limits import HARD, SOFT, Limits
from workers.watch import Attempt, Watch

_KINDS = ("soft", "hard")


class TimeLimit(Middleware):
    """Raises TimeLimitExceeded in a job at its soft limit, which is its `current_job().deadline`.

    When the worker stops and the grace is over, it raises Shutdown. At its hard limit a job is given up, and so is its
    thread.

    Parameters:
      limits: where an actor states none.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.watch: Watch | None = None
        self._owns_process = False

    @property
    def actor_options(self) -> set[str]:
        """What an actor or a message may say, in milliseconds."""
        return {SOFT, HARD}

    def after_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Let its function be interrupted where a worker runs it."""
        actor.fn = watched(actor.fn)

    def after_process_boot(self, broker: Broker) -> None:
        """This process is a worker of Dramatiq's command. Its second SIGTERM would end it in the middle of its jobs."""
        self._owns_process = True
        was_told = False
        for number in (signal.SIGTERM, signal.SIGHUP):
            first = signal.getsignal(number)
            assert callable(first)  # noqa: S101  narrows the type: Dramatiq has just set it

            def told(number: int, frame: FrameType | None, first: Callable[..., Any] = first) -> None:
                nonlocal was_told
                if was_told and self.watch is not None:
                    self.watch.hasten()
                else:
                    was_told = True
                    first(number, frame)

            signal.signal(number, told)

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Begin to watch."""
        assert isinstance(broker, HookedBroker)  # noqa: S101  narrows the type
        from workers import metrics  # noqa: PLC0415  not before share()

        for actor in broker.actors:
            for kind in _KINDS:
                metrics.time_limits.labels(actor, kind)
        grace = self.limits.grace.total_seconds()
        self.watch = Watch(broker, worker, grace=grace, owns_process=self._owns_process)
        self.watch.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Give jobs their grace."""
        if self.watch is not None:
            self.watch.stop_within_grace()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Watch no more."""
        if self.watch is not None:
            self.watch.close()

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Begin to count."""
        assert self.watch is not None and message.job is not None  # noqa: S101, PT018  narrows the types
        soft, hard = self.limits.of(broker.get_actor(message.actor_name).options, message.options)
        message.running = Attempt(message, soft, hard)
        message.job.deadline = message.running.deadline
        self.watch.begin(message.running)
        run_next(message.isolate or message.running.run)

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """It has ended."""
        run_next(None)
        if message.running is not None and self.watch is not None:
            self.watch.end(message.running)
            message.running = None  # it refers back: each job would wait for the garbage collector

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """It has ended."""
        self.after_process_message(broker, message)
