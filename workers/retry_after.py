"""Retry-After is how a service says over HTTP when to come back; a job that calls it obeys."""

from collections.abc import Mapping
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from workers.clock import utcnow
from workers.errors import RetryLater

_BUSY: Final = {429, 503}
_DEFAULT: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(days=1)


def obey_retry_after(
    status: int, headers: Mapping[str, str], *, default: timedelta = _DEFAULT, longest: timedelta = _LONGEST
) -> None:
    """Call it with the answer of a service, before looking at the answer itself.

    Parameters:
      status: the answer's status.
      headers: its headers, whose names may be looked up in lower case.
      default: how long to wait when it does not say, or can't be understood.
      longest: no delay is longer, whatever it says.

    Raises:
      RetryLater: the service is too busy (429, 503).
    """
    if status not in _BUSY:
        return
    said = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    delay = _delay(said.strip())
    delay = default if delay is None else delay
    raise RetryLater(
        "the service is too busy",
        delay=max(timedelta(0), min(delay, longest)),
        expected="another status",
        received=f"{status}, Retry-After: {said[:40] or 'not said'}",
    )


def _delay(said: str) -> timedelta | None:
    """From seconds, or from a date of HTTP."""
    if said.isascii() and said.isdigit():
        return timedelta(seconds=min(int(said[:12]), 10**9))
    try:
        then = parsedate_to_datetime(said)
    except ValueError:
        return None
    return (then if then.tzinfo else then.replace(tzinfo=UTC)) - utcnow()
