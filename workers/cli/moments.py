"""Moments are read from a command's line and written to its page."""

from datetime import UTC, datetime

import typer


def moment(text: str) -> datetime:
    """A point in time with its zone, as ISO 8601 says it.

    Raises:
      BadParameter: it is none, or nobody knows in which zone it is meant.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise typer.BadParameter(f"expected a time with its zone, such as 2026-11-22T18:00+01:00; received {text}")
    return found.astimezone(UTC)


def written(found: datetime | None) -> str:
    """The time in UTC, to the second; nothing for none."""
    return "" if found is None else f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
