"""Names of ticks are derived here: the same in every scheduler, and again after a crash."""

import uuid
from datetime import UTC, datetime
from typing import Final

_NAMESPACE: Final = uuid.UUID("8eba097e-3b73-42e7-9467-3c7bcaac163c")  # never changes: message ids come from it


def tick_key(schedule: str, due_at: datetime, *, again: int = 0) -> str:
    """What makes two messages of a tick one job, such as `sitemap-nightly@2026-10-25T00:30:00Z`.

    Parameters:
      again: how often an operator has had it run once more; each time is a job of its own.
    """
    key = f"{schedule}@{due_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"{key}#{again}" if again else key


def next_key(schedule: str, due_at: datetime, last: str | None) -> str:
    """The key after this one, for running a tick once more."""
    again = (last or "").partition("#")[2]
    return tick_key(schedule, due_at, again=int(again or 0) + 1)


def manual_key(schedule: str, asked_at: datetime) -> str:
    """What makes an operator's run a job of its own."""
    return f"{schedule}@manual-{asked_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def message_id(key: str) -> str:
    """The id of the message with this key."""
    return str(uuid.uuid5(_NAMESPACE, key))
