"""The one place that asks the host for the time, so that tests can move it."""

from collections.abc import Callable
from datetime import UTC, datetime


def _host() -> datetime:
    return datetime.now(UTC)


source: Callable[[], datetime] = _host
"""Where the time comes from; workers.testing puts a clock of its own here."""


def utcnow() -> datetime:
    """The time now, aware, in UTC."""
    return source()
