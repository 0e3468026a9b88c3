"""Logs are one JSON object a line, or, for people, one coloured line."""

import logging
import sys
from pathlib import Path
from typing import Any, Literal

import dramatiq
import structlog

# Dramatiq's functions that write a job's arguments; JobLog writes its own lines for the same events, without them.
_TALKATIVE = {("worker", "process_message"), ("worker", "post_process_message"), ("actor", "__call__")}
_DRAMATIQ = str(Path(dramatiq.__file__).parent)

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.ExceptionRenderer(),
]


def configure(*, level: str, form: Literal["json", "console"], environment: str) -> None:
    """Send every log line of this process, ours and the libraries', through one format to stderr."""
    join_standard_logging()
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _in(environment), renderer],
        )
    )
    handler.addFilter(_without_arguments)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def join_standard_logging() -> None:
    """Make structlog's lines ordinary records of Python's logging, so that there is one stream."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _without_arguments(record: logging.LogRecord) -> bool:
    return (record.module, record.funcName) not in _TALKATIVE or not record.pathname.startswith(_DRAMATIQ)


def _in(environment: str) -> Any:
    def add(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        event["environment"] = environment
        return event

    return add
