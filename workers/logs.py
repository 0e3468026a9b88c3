"""Logs are one JSON object a line, or, for people, one coloured line."""

import json
import logging
import sys
import threading
import time
from collections import deque
from contextlib import nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Literal, TextIO

import dramatiq

# Dramatiq's functions that write a job's arguments; JobLog writes its own lines for the same events, without them.
_TALKATIVE = {("worker", "process_message"), ("worker", "post_process_message"), ("actor", "__call__")}
_DRAMATIQ = str(Path(dramatiq.__file__).parent)

_TOGETHER_SECONDS: Final = 0.02
_encode: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode  # json.dumps would make one each time

# The message whose job this thread runs: anything with a message's names.
subject: ContextVar[Any] = ContextVar("dutiful_log_subject", default=None)


def subject_fields(message: Any) -> dict[str, Any]:
    """What each line about a job says; `trace_id` is that of the trace in which it was sent."""
    fields = {
        "message_id": message.message_id,
        "actor": message.actor_name,
        "queue": message.queue_name,
        "attempt": message.attempt,
    }
    sent_from = message.options.get("traceparent")
    if sent_from is not None:
        fields["trace_id"] = str(sent_from).partition("-")[2].partition("-")[0]
    return fields


def _add_subject(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    about = subject.get()
    return event if about is None else {**subject_fields(about), **event}


def _on_each_line() -> list[Any]:
    import structlog  # noqa: PLC0415  a command that writes no log doesn't load it, and it loads a lot

    return [
        structlog.contextvars.merge_contextvars,
        _add_subject,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.ExceptionRenderer(),
    ]


class Lines(logging.StreamHandler[TextIO]):
    """Where every line goes.

    Lines of which there is one a job wait a moment and are written together, by one thread: a system call for each,
    with the threads in line for it, would take as long as the job. A process that is killed loses the last of them.
    """

    def __init__(self, environment: str) -> None:
        super().__init__(sys.stderr)
        self.environment = environment
        self._waiting: deque[str] = deque()
        self._is_idle = True
        self._news: SimpleQueue[None] = SimpleQueue()

    def begin(self) -> None:
        """Write what waits, from now on."""
        threading.Thread(target=self._write_together, name="dutiful-lines", daemon=True).start()

    def write(self, event: str, level: str, logger: str, fields: dict[str, Any]) -> None:
        """Have one JSON line written, a moment later."""
        moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        about = {"level": level, "logger": logger, "timestamp": moment, "environment": self.environment}
        self._waiting.append(_encode({"event": event, **fields, **about}) + "\n")
        if self._is_idle:
            self._is_idle = False
            self._news.put(None)

    def emit(self, record: logging.LogRecord) -> None:
        """Write any other line, behind those that wait."""
        self.write_waiting()
        super().emit(record)

    def write_waiting(self) -> None:
        """Write what waits, now."""
        with self.lock or nullcontext():
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if lines:
                self.stream.write("".join(lines))
                self.stream.flush()

    def _write_together(self) -> None:
        while True:
            self._news.get()
            time.sleep(_TOGETHER_SECONDS)
            self._is_idle = True  # what comes from here on is news
            self.write_waiting()


def configure(*, level: str, form: Literal["json", "console"], environment: str) -> Lines:
    """Send every log line of this process through one format to stderr: ours, the libraries', and Python's own.

    Those are warnings, and what ends a thread.
    """
    import structlog  # noqa: PLC0415  as above

    join_standard_logging()
    logging.captureWarnings(capture=True)
    threading.excepthook = _log_end_of_thread
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    handler = Lines(environment)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_on_each_line(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _in(environment), renderer],
        )
    )
    handler.addFilter(_without_arguments)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return handler


def join_standard_logging() -> None:
    """Make structlog's lines ordinary records of Python's logging, so that there is one stream."""
    import structlog  # noqa: PLC0415  as above

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *_on_each_line(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread is not None else "that is gone"
    error = ended.exc_value or ended.exc_type()
    logging.getLogger(__name__).critical("an error has ended the thread %s", name, exc_info=error)


def _without_arguments(record: logging.LogRecord) -> bool:
    return (record.module, record.funcName) not in _TALKATIVE or not record.pathname.startswith(_DRAMATIQ)


def _in(environment: str) -> Any:
    def add(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        event["environment"] = environment
        return event

    return add
