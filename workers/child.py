"""A child runs jobs that its worker sends, one after the other, until the line or the worker is gone."""

import fcntl
import importlib
import os
import pickle
import resource
import select
import signal
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, Final, NoReturn

import dramatiq
from dramatiq import Broker, Message
from dramatiq.middleware import AsyncIO

from workers import post_mortem
from workers.children import SIGNALS, Answer, Task
from workers.current import enter
from workers.database_calls import count_database_calls
from workers.delivery import Delivery
from workers.logs import subject
from workers.middleware.arguments import CheckedArguments
from workers.middleware.current_job import CurrentJob
from workers.middleware.error_reports import ErrorReports
from workers.middleware.job_log import JobLog
from workers.middleware.successors import Successors

# What a job sees of the middleware. All else happens in the worker: before it, and after it.
_INSIDE: Final = (JobLog, CurrentJob, CheckedArguments, Successors)


class Unsent:
    """Stands for a result that can't leave the process."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"a {self.kind} that can't leave its process"


class _Interrupts:
    """Signals become exceptions while a job runs, and nothing at other times."""

    def __init__(self) -> None:
        self.is_open = False
        self._kinds = {number: kind for kind, number in SIGNALS.items()}
        for number in self._kinds:
            signal.signal(number, self._told)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the worker says when it ends

    def _told(self, number: int, _frame: FrameType | None) -> None:
        if self.is_open:
            self.is_open = False
            raise self._kinds[signal.Signals(number)]


def serve(line: Connection, lifeline: Connection, modules: Sequence[str]) -> NoReturn:
    """Run what comes, in a process of its own."""
    _die_with(lifeline)
    os.setpgid(0, 0)  # a job that signals its group reaches itself alone
    interrupts = _Interrupts()
    for module in modules:
        importlib.import_module(module)
    broker = dramatiq.get_broker()
    for middleware in broker.middleware:
        if isinstance(middleware, (JobLog, ErrorReports)):
            middleware.after_process_boot(broker)
        if isinstance(middleware, AsyncIO):
            middleware.before_worker_boot(broker, None)  # type: ignore[no-untyped-call]
    count_database_calls()
    with suppress(EOFError, OSError):
        line.send("ready")
        while True:
            task = line.recv()
            line.send_bytes(_written(_run(broker, task, interrupts)))
    os._exit(0)  # threads that a job left behind keep nothing


def _die_with(lifeline: Connection) -> None:
    """End with the worker, however it ends: the kernel sends SIGIO when its end of the pipe closes.

    No thread of Python's has to look, so that a job which keeps the GIL dies as well.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(0)  # it is gone already


def _run(broker: Broker, task: Task, interrupts: _Interrupts) -> Answer:
    delivery = Delivery(Message(**{**task.message, "args": tuple(task.message["args"])}))
    result, error = None, None
    try:
        _prepare(broker, delivery, task)
        actor = broker.get_actor(delivery.actor_name)
        _limit_memory(task.memory_bytes)
        try:
            interrupts.is_open = True
            result = actor(*delivery.args, **delivery.kwargs)
        finally:
            interrupts.is_open = False
            _limit_memory(resource.RLIM_INFINITY)
    except BaseException as raised:  # noqa: BLE001  the worker decides what follows from it
        error = _taken_down(raised)
    finally:
        enter(None)
        subject.set(None)
    job = delivery.job
    ended, unsent = (job.ended, job.unsent) if job is not None else (False, False)
    return Answer(result, error, ended=ended, unsent=unsent, database_calls=delivery.database_calls)


def _prepare(broker: Broker, delivery: Delivery, task: Task) -> None:
    inside: list[Any] = [each for each in broker.middleware if isinstance(each, _INSIDE)]
    for middleware in inside:
        if hasattr(middleware, "prepare"):
            middleware.prepare(broker, [delivery])
    if delivery.refusal is not None:
        raise delivery.refusal
    assert delivery.job is not None  # noqa: S101  CurrentJob has made it
    delivery.job.deadline = task.deadline
    if task.claim is not None:
        delivery.job.claimed(task.claim, task.holder)
    for middleware in inside:
        middleware.before_process_message(broker, delivery)


def _limit_memory(most: int) -> None:
    """Bound what this process may allocate; more is a MemoryError."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _taken_down(error: BaseException) -> tuple[type[BaseException], tuple[Any, ...], dict[str, Any]]:
    """An error with all that the worker needs of it: frames don't travel."""
    text = "".join(traceback.format_exception(error))
    kept = {name: value for name, value in error.__dict__.items() if _travels(value)}
    kept |= {"places": post_mortem.places(error), "__notes__": [f"in a child process:\n{text}"]}
    if not _travels(type(error)):
        return RuntimeError, (repr(error),), kept
    return type(error), error.args if _travels(error.args) else (str(error),), kept


def _written(answer: Answer) -> bytes:
    try:
        return pickle.dumps(answer)
    except Exception:  # noqa: BLE001  pickle raises whatever an object's own methods do
        unsent = Unsent(type(answer.result).__name__)
        return pickle.dumps(replace(answer, result=unsent))


def _travels(value: Any) -> bool:
    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301  our own words
    except Exception:  # noqa: BLE001  as above
        return False
    return True
