"""Every says that a schedule is due each so many seconds."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scheduling.cron import ScheduleError


@dataclass(frozen=True)
class Every:
    """Due times that lie a fixed number of seconds apart, counted from the epoch: all schedulers mean the same ones.

    No clock change and no time zone moves them.

    Parameters:
      seconds: from one due time to the next; at least 1.

    Raises:
      ScheduleError: it is less, or no whole number.
    """

    seconds: int

    def __post_init__(self) -> None:
        if not isinstance(self.seconds, int) or isinstance(self.seconds, bool) or self.seconds < 1:
            raise ScheduleError(
                f"Every({self.seconds!r}) can't work", expected="whole seconds, at least 1", received=repr(self.seconds)
            )

    def __str__(self) -> str:
        return f"every {self.seconds} s"

    def validate(self, moment: datetime) -> bool:
        """Whether the schedule is due in the second of this moment."""
        return int(moment.timestamp()) % self.seconds == 0

    def next_valid_date(self, moment: datetime) -> datetime:
        """The first due time after this moment, in UTC."""
        return datetime.fromtimestamp((int(moment.timestamp() // self.seconds) + 1) * self.seconds, UTC)

    def due_between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Every due time that is later than one moment and not later than the other, ascending, in UTC."""
        due = self.next_valid_date(after)
        while due <= until:
            yield due
            due += timedelta(seconds=self.seconds)

    def latest_due(self, after: datetime, until: datetime) -> datetime | None:
        """The last due time that is later than one moment and not later than the other, in UTC."""
        due = self.next_valid_date(until) - timedelta(seconds=self.seconds)
        return due if due > after else None
