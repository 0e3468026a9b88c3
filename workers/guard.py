"""A guard lets a job be interrupted while its function runs, and at no other moment."""

import ctypes
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, Self, TypeVar

from dramatiq.middleware import Interrupt
from dramatiq.middleware.threading import raise_thread_exception

R = TypeVar("R")
Run = Callable[[Callable[[], Any]], Any]

# Who runs the next function of an actor that this thread calls; nobody: it is a plain call.
_next: ContextVar[Run | None] = ContextVar("dutiful_run", default=None)


class Guard:
    """Whoever comes first has it: the end of the function, or one interrupt.

    Without it, an exception that is raised in another thread may arrive after the function has returned, in the code
    that settles its message.

    Parameters:
      interrupt: raises an exception of that class where the function runs.
    """

    def __init__(self, interrupt: Callable[[type[Interrupt]], None]) -> None:
        self._interrupt = interrupt
        self._first = threading.Lock()  # never released
        self._raised = threading.Lock()  # released once the interrupt is under way; an Event costs as much as all this
        self._raised.acquire()

    @classmethod
    def of_this_thread(cls) -> Self:
        """A guard of what this thread is about to run."""
        return cls(partial(raise_thread_exception, threading.get_ident()))

    def interrupt(self, kind: type[Interrupt]) -> bool:
        """Interrupt the function; False where it has ended, or was interrupted before."""
        if not self._first.acquire(blocking=False):
            return False
        try:
            self._interrupt(kind)
        finally:
            self._raised.release()
        return True

    def run(self, call: Callable[[], R]) -> R:
        """Run the function here. When this returns or raises, no interrupt is under way."""
        try:
            return call()
        finally:
            self._close()

    def _close(self) -> None:
        try:
            if not self._first.acquire(blocking=False):
                self._raised.acquire()
                # It has arrived long ago, or arrives here, or is taken back: the function has ended.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)
        except Interrupt:
            pass


def run_next(run: Run | None) -> None:
    """Let `run` run the next function of an actor that this thread calls."""
    _next.set(run)


def watched(fn: Callable[..., R]) -> Callable[..., R]:
    """An actor's function, which a worker runs as `run_next` says; any other call of it is a plain call."""

    @wraps(fn)
    def call(*args: Any, **kwargs: Any) -> R:
        run = _next.get()
        if run is None:
            return fn(*args, **kwargs)
        _next.set(None)  # a job may call other actors' functions, and its own
        result: R = run(partial(fn, *args, **kwargs))
        return result

    return call
