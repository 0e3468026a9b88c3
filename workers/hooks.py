"""Hooks of middleware fail closed: an error in one of them neither runs a job nor settles its message."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from dramatiq import Broker, Middleware
from dramatiq.middleware import MiddlewareError, SkipMessage

from workers.delivery import Delivery, Outcome
from workers.errors import DutifulError, HookFailed

_ABOUT_A_JOB: Final = frozenset({"process_message", "skip_message"})
_HOOK_PAUSE: Final = timedelta(seconds=5)
_FAILED: Final = "%s failed %s message %s, which is handed back"


class HookedBroker(Broker):
    """A broker whose hooks fail closed.

    Dramatiq logs an unexpected error of a `before_process_message` hook and runs the job all the same, and swallows
    every error of an `after` hook. Here an error before means that nothing runs and the message is put back; an error
    after means that the message is not settled.

    Two hooks are ours:

        prepare(broker, deliveries)   many messages at once, before any of them is given to a thread
        ended(broker, delivery)       its outcome is final and on record; perhaps on another thread than the job's

    Attributes:
      is_stopping: no job begins any more.
      exit_status: what the process ends with once its worker has stopped; 0: nothing is wrong.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.is_stopping = False
        self.exit_status = 0
        self._found: dict[str, list[tuple[Middleware, Callable[..., Any]]]] = {}
        super().__init__(*args, **options)

    def _hooks(self, name: str) -> list[tuple[Middleware, Callable[..., Any]]]:
        """Who has a hook of that name, outermost first. Dramatiq would ask everyone, four times a job."""
        found = self._found.get(name)
        if found is None:
            nothing = getattr(Middleware, name, None)
            hooks = [(each, getattr(each, name, None)) for each in self.middleware]
            found = [
                (each, hook)
                for each, hook in hooks
                if hook is not None and getattr(hook, "__func__", hook) is not nothing
            ]
            self._found[name] = found
        return found

    def add_middleware(self, middleware: Middleware, **where: Any) -> None:
        """Add a middleware."""
        self._found = {}
        super().add_middleware(middleware, **where)

    def prepare(self, deliveries: list[Delivery]) -> None:
        """Let each middleware see many messages at once.

        It raises nothing: what is wrong with a message is raised when that message's turn comes, and an error that
        nobody foresaw refuses them all.
        """
        for middleware, hook in self._hooks("prepare"):
            try:
                hook(self, deliveries)
            except Exception as error:
                refusal = _hook_failed(middleware, error)
                self.logger.critical("%s", refusal, exc_info=True)
                for delivery in deliveries:
                    delivery.refusal = delivery.refusal or refusal
                return

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Run the `before` hooks, outermost first."""
        if signal == "process_message":
            self._before_job(args[0])
        else:
            self.emit_other_before(signal, *args, **kwargs)

    def emit_other_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """The same for all but attempts: a worker boots, a queue is declared, a message is sent."""
        if signal == "worker_boot":
            self._found, self.is_stopping = {}, False
        if self._hooks(f"before_{signal}"):
            super().emit_before(signal, *args, **kwargs)

    def _before_job(self, delivery: Delivery) -> None:
        delivery.began = time.monotonic()
        if delivery.is_stale:
            raise SkipMessage("the channel that delivered it is gone")
        if self.is_stopping:
            raise SkipMessage("this worker stops")
        delivery.begun = True
        if delivery.refusal is not None:
            raise delivery.refusal
        for middleware, hook in self._hooks("before_process_message"):
            try:
                hook(self, delivery)
            except (DutifulError, MiddlewareError):
                raise
            except Exception as error:
                raise _hook_failed(middleware, error) from error

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Run the `after` hooks, innermost first; a delivery is settled when all of them have ended well."""
        if signal in _ABOUT_A_JOB:
            self._after_job(signal, *args, **kwargs)
        else:
            self.emit_other_after(signal, *args, **kwargs)

    def emit_other_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """The same for all but attempts; an error is logged, and the next hook runs."""
        for middleware, hook in reversed(self._hooks(f"after_{signal}")):
            try:
                hook(self, *args, **kwargs)
            except Exception:
                self.logger.critical("Unexpected failure in after_%s of %r.", signal, middleware, exc_info=True)

    def _after_job(self, signal: str, delivery: Delivery, **ended: Any) -> None:
        if delivery.finished:
            # An interrupt arrived while these hooks ran. What they did stays; the message is handed back.
            delivery.settled = False
            return
        delivery.finished = True
        delivery.took = time.monotonic() - delivery.began
        delivery.settled = delivery.begun  # else no hook has seen it: it goes back as it came
        for middleware, hook in reversed(self._hooks(f"after_{signal}")):
            try:
                hook(self, delivery, **ended)
            except Exception as error:
                delivery.settled = False
                self.logger.critical(_FAILED, type(middleware).__name__, "after", delivery.message_id, exc_info=True)
                # The hooks further out end what they began, so that the message can be run again here.
                if delivery.job is None or not delivery.job.ended:
                    delivery.outcome = Outcome("interrupted", reason="hook_failed", error=error)

    def conclude(self, delivery: Delivery) -> None:
        """Dramatiq is done with it: have it written down how it ended, tell the hooks, and settle it."""
        if delivery.record is None:
            self._end(delivery)
        else:
            delivery.record(delivery, self._end)

    def _end(self, delivery: Delivery) -> None:
        if delivery.outcome is not None:
            for middleware, hook in reversed(self._hooks("ended")):
                try:
                    hook(self, delivery)
                except Exception:
                    delivery.settled = False
                    name = type(middleware).__name__
                    self.logger.critical(_FAILED, name, "at the end of", delivery.message_id, exc_info=True)
        delivery.consumer.settle(delivery)


def _hook_failed(middleware: Middleware, error: Exception) -> HookFailed:
    return HookFailed(
        f"{type(middleware).__name__} failed before the job ran, so it did not run",
        why="hook_failed",
        delay=_HOOK_PAUSE,
        expected="no error",
        received=repr(error),
    )
