"""The watch knows since when this scheduler has been at work without a break."""

from datetime import UTC, datetime, timedelta
from typing import Final

_BREAK: Final = timedelta(minutes=2)  # far above what a look takes, also while the broker and the store are away


class Watch:
    """Tells what is late from what was missed.

    Attributes:
      since: no look was more than two minutes after the one before, from then on. A scheduler that was stopped and
        continued, or whose clock was set, begins anew.
    """

    def __init__(self) -> None:
        self.since = datetime.max.replace(tzinfo=UTC)
        self._last: datetime | None = None

    def look(self, now: datetime) -> None:
        """Note that the timetable is looked at now."""
        if self._last is None or not self._last <= now <= self._last + _BREAK:
            self.since = now
        self._last = now
