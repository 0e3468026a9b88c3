"""Moments are read from a command's line and written to its page."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import typer

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


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


def duration(text: str) -> timedelta:
    """A length of time, such as 90s, 5m, 12h or 7d.

    Raises:
      BadParameter: it is none.
    """
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise typer.BadParameter(f"expected a number and s, m, h or d, such as 5m; received {text}")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def written(found: datetime | None) -> str:
    """The time in UTC, to the second; nothing for none."""
    return "" if found is None else f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
