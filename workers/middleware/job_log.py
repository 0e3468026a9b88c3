"""JobLog writes one line an attempt, with the job's fields on it and on every line that the job writes."""

import logging
from functools import cached_property
from typing import Any, Literal

from dramatiq import Broker, Middleware

from workers.delivery import Delivery
from workers.logs import Lines, configure, subject, subject_fields

_NAME = "dutiful.jobs"
_LEVELS = {"dead": "error", "retried": "warning", "interrupted": "warning"}


class JobLog(Middleware):
    """One line an attempt: `job_succeeded`, `job_retried`, `job_dead`, `job_deferred`, `job_duplicate`, ….

    Arguments are never written.

    Parameters:
      level, form, environment: as workers.logs.configure takes them.
      success_lines: whether jobs that succeeded get a line.
    """

    def __init__(self, *, level: str, form: Literal["json", "console"], success_lines: bool, environment: str) -> None:
        self.level = level
        self.form = form
        self.success_lines = success_lines
        self.environment = environment
        self.lines: Lines | None = None

    @cached_property
    def log(self) -> Any:
        """Where lines go that are written one by one."""
        import structlog  # noqa: PLC0415  only where jobs run, or are rehearsed

        return structlog.stdlib.get_logger(_NAME)

    def after_process_boot(self, broker: Broker) -> None:
        """Configure the logs of a worker process; other programs keep their own."""
        lines = configure(level=self.level, form=self.form, environment=self.environment)
        if self.form == "json" and logging.getLogger(_NAME).isEnabledFor(logging.INFO):
            self.lines = lines
            lines.begin()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Leave no line behind."""
        if self.lines is not None:
            self.lines.write_waiting()

    def before_process_message(self, broker: Broker, message: Delivery) -> None:  # type: ignore[override]  # ours
        """Put the job's fields on every line that it writes."""
        subject.set(message)

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        """Put them on no other line."""
        subject.set(None)

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """Put them on no other line."""
        subject.set(None)

    def ended(self, broker: Broker, message: Delivery) -> None:
        """Write the line."""
        outcome = message.outcome
        if outcome is None or (outcome.verdict == "succeeded" and not self.success_lines):
            return
        fields: dict[str, Any] = {**subject_fields(message), "duration_ms": round(message.took * 1000, 1)}
        if message.job is not None and message.job.key is not None:
            fields["key"] = message.job.key
        if outcome.reason:
            fields["reason"] = outcome.reason
        if outcome.delay is not None:
            fields["delay_seconds"] = round(outcome.delay.total_seconds(), 1)
        if outcome.error is not None:
            fields["error"] = f"{type(outcome.error).__name__}: {outcome.error}"
        if outcome.verdict in {"dead", "retried"}:
            fields["exc_info"] = outcome.error
        if self.lines is not None and outcome.verdict == "succeeded":
            self.lines.write("job_succeeded", "info", _NAME, fields)
            return
        getattr(self.log, _LEVELS.get(outcome.verdict, "info"))(f"job_{outcome.verdict}", **fields)
