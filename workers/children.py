"""Children are processes that are kept warm to run one job at a time, so that only they can die of it."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import connection
from typing import Any, Final

from dramatiq.middleware import Interrupt, Shutdown, TimeLimitExceeded

from workers.errors import Crashed, Deferred
from workers.limits import HardTimeLimitExceeded
from workers.store.keys import Claim

# What raises each exception in a child, on its main thread, where the job runs.
SIGNALS: Final[dict[type[Interrupt], signal.Signals]] = {
    TimeLimitExceeded: signal.SIGUSR1,
    Shutdown: signal.SIGUSR2,
}
_REAP_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 2.0
_BOOT_SECONDS: Final = 60.0
_BOOT_PAUSE: Final = timedelta(seconds=5)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """An attempt, as it goes to a child.

    Attributes:
      message: the message's fields, by name.
      claim: of its key; None where it keeps no record.
      holder: who has the claim: the worker's lease.
      deadline: when its soft limit is over.
      memory_bytes: what the child may have.
    """

    message: dict[str, Any]
    claim: Claim | None
    holder: str
    deadline: datetime | None
    memory_bytes: int


@dataclass(frozen=True)
class Answer:
    """How it went.

    Attributes:
      result: what the function returned.
      error: what it raised, as its class, its arguments and what it carries; None: it returned.
      ended: its transaction() has committed, so that it is done.
      unsent: a commit has stored messages that are to be sent.
      database_calls: how many statements of SQL it has sent.
    """

    result: Any
    error: tuple[type[BaseException], tuple[Any, ...], dict[str, Any]] | None
    ended: bool
    unsent: bool
    database_calls: int


class Child:
    """One of them. Its line is its own: what it leaves there half said, when it dies, confuses no other."""

    def __init__(self, context: Any, serve: Callable[..., None], modules: Sequence[str]) -> None:
        self._line, theirs = context.Pipe()
        # Nothing is ever written to it. When this process is gone, however it went, it closes, and the child sees that.
        lifeline, self._ours = context.Pipe(duplex=False)
        self._process = context.Process(target=serve, args=(theirs, lifeline, modules), name="dutiful-child")
        self._process.start()
        theirs.close()
        lifeline.close()
        self.jobs = 0
        self._is_ready = False
        self._is_stopped = False

    def wait_until_ready(self) -> None:
        """Wait until it can take a job and be interrupted.

        Raises:
          Deferred: it could not start. No job has begun.
        """
        if self._is_ready:
            return
        if not connection.wait([self._line, self._process.sentinel], _BOOT_SECONDS):
            self.kill()
        try:
            self._heard()
        except Crashed as error:
            what = "no child process could be started"
            raise Deferred(what, why="no_child", delay=_BOOT_PAUSE, received=error.received) from None
        self._is_ready = True

    def run(self, task: Task, hard_at: float) -> Answer:
        """Run a job there.

        Raises:
          Crashed: the process died.
          Shutdown: the worker stops, and the job had to be killed for it.
          HardTimeLimitExceeded: the time was over, by the monotonic clock; the process is killed.
        """
        self.jobs += 1
        with suppress(OSError):  # it is dead, which is seen below
            self._line.send(task)
        if not connection.wait([self._line, self._process.sentinel], max(0.0, hard_at - time.monotonic())):
            self.kill()
            raise HardTimeLimitExceeded("it was killed at its hard limit")
        answer: Answer = self._heard()
        return answer

    def interrupt(self, kind: type[Interrupt]) -> None:
        """Raise an exception in its job; one that must stop, and doesn't, is killed soon."""
        if self._process.is_alive():
            os.kill(self._process.pid, SIGNALS[kind])
        if kind is Shutdown:
            self._is_stopped = True
            threading.Timer(_STOP_SECONDS, self._process.kill).start()

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.join(_REAP_SECONDS)
        self._ours.close()

    def _heard(self) -> Any:
        try:
            return self._line.recv()
        except (EOFError, OSError):
            self.kill()
            if self._is_stopped:
                raise Shutdown from None
            raise Crashed(
                "the process that ran the job died", expected="an answer", received=_cause(self._process.exitcode)
            ) from None


class Children:
    """As many as jobs ask for at once; one is started ahead.

    Parameters:
      serve: what a child runs: serve(line, lifeline, modules).
      most_jobs: after so many a child is replaced.
      preload: a module whose imports all children share.
    """

    def __init__(self, serve: Callable[..., None], most_jobs: int, *, preload: str) -> None:
        self._serve, self._preload = serve, preload
        self._most_jobs = most_jobs
        self._context: Any = None
        self._modules: Sequence[str] = ()
        self._idle: deque[Child] = deque()
        self._busy: set[Child] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def open(self, modules: Sequence[str]) -> None:
        """Make them possible.

        Parameters:
          modules: those that declare the actors; each child imports them.
        """
        self._modules, self._is_closed = modules, False
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([self._preload, *modules])

    def warm(self) -> None:
        """Start one ahead, in a thread of its own."""
        threading.Thread(target=self._start_one, name="dutiful-warm", daemon=True).start()

    def take(self) -> Child:
        """A child that is idle."""
        with self._lock:
            child = self._idle.pop() if self._idle else None
        child = child or self._made()
        self._busy.add(child)
        return child

    def give_back(self, child: Child) -> None:
        """It has answered."""
        if child.jobs >= self._most_jobs:
            self.drop(child)
            child.kill()
            self.warm()
            return
        with self._lock:
            self._busy.discard(child)
            self._idle.append(child)

    def drop(self, child: Child) -> None:
        """It is dead."""
        self._busy.discard(child)

    def close(self) -> None:
        """End all of them."""
        self._is_closed = True
        with self._lock:
            left = [*self._idle, *self._busy]
            self._idle.clear()
        for child in left:
            child.kill()

    def _made(self) -> Child:
        return Child(self._context, self._serve, self._modules)

    def _start_one(self) -> None:
        try:
            child = self._made()
        except OSError as error:
            _log.warning("no child process could be started ahead: %s", error)
            return
        with self._lock:
            if not self._is_closed:
                self._idle.append(child)
                return
        child.kill()


def _cause(status: int | None) -> str:
    if status is None:
        return "no exit status"
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
