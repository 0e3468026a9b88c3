"""Cron says in which minutes a schedule is due."""

import difflib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from workers.errors import ConfigurationError

NAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_FIELDS = 5
_YEARS = 50  # 29 February falls on a Monday every 28 or 40 years; nobody waits longer
_WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=31), timedelta(days=366))


class ScheduleError(ConfigurationError, ValueError):
    """A schedule that can't be what it says. Mend it where it is declared, then start again."""


@dataclass(frozen=True)
class Cron:
    """The minutes that a cron spec names, in one time zone.

    The fields are minute, hour, day of month, month and day of week, as in Debian's cron: Sunday is 0 and 7, months and
    days may be named. If neither day field begins with a star, a day that fits one of the two is enough; else it must
    fit both.

    On the days that the clock changes it is Debian's cron, too. A spec whose minute and hour both begin without a star
    names a time of day and is due once for it: a time that the change skips is due at the first minute after the gap, a
    time that comes twice is due the first time. In Europe/Berlin, "30 2 * * *" is due at 03:00 on the day in March, and
    at the first 02:30 on the day in October. Any other spec names a rhythm and goes with the clock: "*/30 * * * *"
    skips 02:00 and 02:30 on the day in March and is due twice at each on the day in October.

    Parameters:
      spec: five fields, or a name such as "@daily".
      timezone: a name from the IANA database; where the scheduler runs makes no difference.

    Raises:
      ScheduleError: the spec can't be read or is never due, or there is no such zone.
    """

    spec: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if len(self._fields) != _FIELDS:
            raise self._refusal(f"five fields, or one of {', '.join(NAMES)}", repr(self.spec))
        first = self._due_after(datetime(2000, 1, 1, tzinfo=UTC))
        try:
            due = next(first, None)
        except CronSimError as error:
            raise self._refusal("fields that cron can read and that fit some day", f"{self.spec!r}: {error}") from None
        if due is None:
            raise self._refusal(f"a spec that is due once in {_YEARS} years", repr(self.spec))

    def __str__(self) -> str:
        return f"{self.spec} {self.timezone}"

    def validate(self, moment: datetime) -> bool:
        """Whether the schedule is due in the minute of this moment, as its zone's clock shows it."""
        minute = self._utc(moment).astimezone(self.zone).replace(second=0, microsecond=0).astimezone(UTC)
        return self.next_valid_date(minute - timedelta(seconds=1)) == minute

    def next_valid_date(self, moment: datetime) -> datetime:
        """The first due time after this moment, in UTC.

        In UTC, because Python subtracts and compares two times of one zone without looking at clock changes.
        """
        due = next(self._due_after(self._utc(moment)), None)
        if due is None:
            raise self._refusal(f"a due time within {_YEARS} years of {moment}", repr(self.spec))
        return due

    def due_between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Every due time that is later than one moment and not later than the other, ascending, in UTC."""
        until = self._utc(until)
        for due in self._due_after(self._utc(after)):
            if due > until:
                return
            yield due

    def latest_due(self, after: datetime, until: datetime) -> datetime | None:
        """The last due time that is later than one moment and not later than the other, in UTC."""
        after, until = self._utc(after), self._utc(until)
        if until <= after:
            return None
        for window in (*_WINDOWS, until - after):
            # The newest stretch first: nobody wants every minute of a year walked to find the last.
            start = max(after, until - window)
            latest = None
            for latest in self.due_between(start, until):  # noqa: B007  the last one is wanted
                pass
            if latest is not None or start == after:
                return latest
        return None

    def _due_after(self, moment: datetime) -> Iterator[datetime]:
        """Every due time after this moment, ascending, in UTC.

        CronSim counts on wall time, and the zone is applied here. Given the zone, CronSim 2.8 names midnights that a
        clock change skips and, in an hour that comes twice, times before the moment asked for.
        """
        if self._names_a_time_of_day:
            times = self._first_time_round(moment)
        else:
            times = heapq.merge(self._each_time(moment, fold=0), self._each_time(moment, fold=1))
        last = moment
        for due in times:
            if due > last:
                yield due
                last = due

    def _first_time_round(self, moment: datetime) -> Iterator[datetime]:
        """The due times of a time of day: after the gap if there is a gap, the first of two if there are two."""
        for wall in self._walls(moment):
            due = wall.replace(tzinfo=self.zone)
            while not _exists(due):
                due += timedelta(minutes=1)
            yield due.astimezone(UTC)

    def _each_time(self, moment: datetime, fold: int) -> Iterator[datetime]:
        """The due times of a rhythm; of a time that comes twice, the one that the fold names."""
        for wall in self._walls(moment):
            due = wall.replace(tzinfo=self.zone, fold=fold)
            if _exists(due):
                yield due.astimezone(UTC)

    def _walls(self, moment: datetime) -> Iterator[datetime]:
        """The times on the wall that fit, from early enough that none after this moment is left out."""
        # In the first of two equal hours, the second one's times lie ahead but show less on the wall. A day later the
        # clock has been put back, and tells by how much.
        today = moment.astimezone(self.zone).replace(tzinfo=None)
        tomorrow = (moment + timedelta(days=1)).astimezone(self.zone).replace(tzinfo=None)
        start = min(today, tomorrow - timedelta(days=1))
        for wall in CronSim(" ".join(self._fields), start):
            if wall.year > start.year + _YEARS:
                return
            yield wall

    def _utc(self, moment: datetime) -> datetime:
        if moment.tzinfo is None:
            raise self._refusal("a moment with a time zone", f"{moment.isoformat()} without one")
        there = moment.astimezone(UTC)
        # Made anew, because periodiq asks with pendulum's times, whose arithmetic is another.
        return datetime.combine(there.date(), there.time(), UTC)

    @cached_property
    def _fields(self) -> list[str]:
        return NAMES.get(self.spec.strip().lower(), self.spec).split()

    @cached_property
    def _names_a_time_of_day(self) -> bool:
        minute, hour, *_ = self._fields
        return not minute.startswith("*") and not hour.startswith("*")

    @cached_property
    def zone(self) -> ZoneInfo:
        """The zone that its times are meant in."""
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            nearest = difflib.get_close_matches(self.timezone, available_timezones(), n=1, cutoff=0)
            expected = f"a name from the IANA database, such as {nearest[0]}"
            raise self._refusal(expected, repr(self.timezone)) from None

    def _refusal(self, expected: str, received: str) -> ScheduleError:
        return ScheduleError(f"Cron({self.spec!r}, {self.timezone!r}) can't work", expected=expected, received=received)


def _exists(local: datetime) -> bool:
    """Whether the zone's clock ever shows this time."""
    return local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) == local.replace(tzinfo=None)
