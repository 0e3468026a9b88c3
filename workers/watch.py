"""The watch looks at what runs in this process, interrupts what takes too long, and gives up what can't be stopped."""

import logging
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from dramatiq import Worker
from dramatiq.middleware import Interrupt, Shutdown, TimeLimitExceeded

from workers.clock import utcnow
from workers.dead_man import DeadMan
from workers.delivery import Delivery
from workers.guard import Guard
from workers.hooks import HookedBroker

_EXIT_STUCK: Final = 64
_LOOK_SECONDS: Final = 0.1
_SLOW_LOOKS: Final = 10  # each second
_PATIENCE_SECONDS: Final = 600.0
_HASTY_SECONDS: Final = 2.0
# After the grace: the threads that end then have deadlines of their own, of a few seconds each.
_LAST_SECONDS: Final = 45.0

_log = logging.getLogger(__name__)


class Attempt:
    """An attempt that runs.

    Parameters:
      delivery: the message.
      soft, hard: its limits, in seconds from now.

    Attributes:
      deadline: when its soft limit is over; None where it has none.
      is_isolated: it runs in a child process, and is killed there at its hard limit.
    """

    def __init__(self, delivery: Delivery, soft: float, hard: float) -> None:
        self.delivery = delivery
        self.thread = threading.current_thread()
        self._limits = soft, hard
        self.begin()
        self.is_isolated = delivery.isolate is not None
        self._guard: Guard | None = None

    def begin(self) -> None:
        """Its time counts from now on."""
        soft, hard = self._limits
        self.began = time.monotonic()
        self.soft_at, self.hard_at = self.began + soft, self.began + hard
        self.deadline: datetime | None = None if soft == math.inf else utcnow() + timedelta(seconds=soft)

    def run(self, call: Callable[[], Any], guard: Guard | None = None) -> Any:
        """Run the job's function; by itself, it is interrupted in this thread."""
        self._guard = guard or Guard.of_this_thread()
        return self._guard.run(call)

    def interrupt(self, kind: type[Interrupt]) -> bool:
        """Raise an exception in the job; False where it is not running, or was interrupted before."""
        return self._guard is not None and self._guard.interrupt(kind)


class Watch(threading.Thread):
    """Looks ten times a second at the attempts of one worker.

    Parameters:
      broker, worker: whose attempts they are.
      grace: how long jobs may go on in a worker that stops, in seconds.
      owns_process: this process is a worker's and nothing else's, so that it may be ended.
    """

    def __init__(self, broker: HookedBroker, worker: Worker, *, grace: float, owns_process: bool) -> None:
        super().__init__(name="dutiful-watch", daemon=True)
        self._broker, self._worker = broker, worker
        self._grace = grace
        self._owns_process = owns_process
        self._running: set[Attempt] = set()
        self._stuck: list[Attempt] = []
        self._first_stuck_at = 0.0
        self._interrupt_at = math.inf
        self._leave_at = math.inf
        self._dead_man = DeadMan()
        self._ended = threading.Event()

    def begin(self, attempt: Attempt) -> None:
        """An attempt begins."""
        self._running.add(attempt)
        # Set at once only where nothing is set that is due before: mostly it costs nothing.
        if self._owns_process and not attempt.is_isolated and attempt.hard_at < self._dead_man.due:
            self._dead_man.set(attempt.hard_at)

    def end(self, attempt: Attempt) -> None:
        """It has ended; perhaps after it was given up."""
        self._running.discard(attempt)

    def stop_within_grace(self) -> None:
        """The worker stops: what still runs after the grace is interrupted."""
        self._interrupt_at = min(self._interrupt_at, time.monotonic() + self._grace)

    def hasten(self, seconds: float = 0.0) -> None:
        """Grant no more than so many seconds; the process must then end soon, whatever it hangs in."""
        self._grace = min(self._grace, seconds)
        if self._interrupt_at != math.inf:  # else it stops within a second: what is interrupted now would come again
            self.stop_within_grace()
        self._leave_at = min(self._leave_at, time.monotonic() + self._grace + _LAST_SECONDS)

    def take_stuck(self) -> list[Attempt]:
        """Those that were given up and have not ended, once: nobody else will say how they ended."""
        taken, self._stuck = self._stuck, []
        return [attempt for attempt in taken if not attempt.delivery.finished]

    def close(self) -> None:
        """Look no more. What is left of the process has less than a minute."""
        self._ended.set()
        self.join()
        if self._owns_process:
            self._dead_man.set(time.monotonic() + _LAST_SECONDS)

    def run(self) -> None:
        """Look until closed."""
        looks = 0
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                self._look()
                looks += 1
                if looks % _SLOW_LOOKS == 0:
                    self._look_slowly()
            except Exception:  # noqa: BLE001  without this thread no limit would hold
                _log.exception("the watch failed, and goes on")

    def _look(self) -> None:
        now = time.monotonic()
        for attempt in tuple(self._running):
            if now >= self._interrupt_at:
                attempt.interrupt(Shutdown)
            elif now >= attempt.soft_at and attempt.interrupt(TimeLimitExceeded):
                count_limit(attempt.delivery, "soft")
            if now >= attempt.hard_at and not attempt.is_isolated and not attempt.delivery.finished:
                self._give_up(attempt)
        stuck = [attempt for attempt in self._stuck if not attempt.delivery.finished]
        if stuck and (len(stuck) > 1 or not self._running or now > self._first_stuck_at + _PATIENCE_SECONDS):
            self._leave("a job is stuck", self._grace)

    def _look_slowly(self) -> None:
        from workers import metrics  # noqa: PLC0415  not before share()

        now = time.monotonic()
        running = tuple(self._running)
        oldest: dict[tuple[str, str], float] = dict.fromkeys(
            ((each.queue_name, each.actor_name) for each in self._broker.actors.values()), 0.0
        )
        for attempt in (*running, *self._stuck):
            job = attempt.delivery.queue_name, attempt.delivery.actor_name
            oldest[job] = max(oldest.get(job, 0.0), now - attempt.began)
        for job, seconds in oldest.items():
            metrics.jobs_longest_running.labels(*job).set(seconds)
        if not self._broker.is_stopping and not all(thread.is_alive() for thread in tuple(self._worker.workers)):
            self._leave("a worker thread has died", _HASTY_SECONDS)
        if self._owns_process:
            due = (attempt.hard_at for attempt in running if not attempt.is_isolated)
            self._dead_man.set(min(due, default=math.inf) if self._leave_at == math.inf else self._leave_at)

    def _give_up(self, attempt: Attempt) -> None:
        """Let another thread take its thread's place. Its key stays claimed and its message unsettled: it runs."""
        self._running.discard(attempt)
        self._first_stuck_at = self._first_stuck_at or time.monotonic()
        self._stuck.append(attempt)
        count_limit(attempt.delivery, "hard")
        frame = sys._current_frames().get(attempt.thread.ident or 0)  # noqa: SLF001  the one way to see it
        where = "".join(traceback.format_stack(frame)) if frame is not None else "nowhere"
        name, number = attempt.delivery.actor_name, attempt.delivery.message_id
        _log.critical("%s %s is stuck past its hard limit, in\n%s", name, number, where)
        thread: Any = attempt.thread
        if thread in self._worker.workers and not self._broker.is_stopping:
            thread.running = False  # it ends with its job, should that ever be
            self._worker.workers.remove(thread)
            self._worker._add_worker()  # noqa: SLF001  Dramatiq has no other door
            attempt.delivery.consumer.widen(attempt.delivery)

    def _leave(self, why: str, grace: float) -> None:
        """End this process in order: hand over, then exit with a status that says so."""
        if not self._owns_process or self._broker.exit_status:
            return
        _log.critical("%s: this worker process hands over and ends", why)
        self._broker.exit_status = _EXIT_STUCK
        self.hasten(grace)
        os.kill(os.getpid(), signal.SIGTERM)


def count_limit(delivery: Delivery, kind: str) -> None:
    """Count an attempt that ran into its soft or hard limit."""
    from workers import metrics  # noqa: PLC0415  not before share()

    metrics.time_limits.labels(delivery.actor_name, kind).inc()
