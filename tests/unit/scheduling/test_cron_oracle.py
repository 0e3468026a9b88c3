"""Cron agrees with a walk over every minute of nine years, and with croniter where both mean the same.

PROOF=1 compares all, zone after zone. One zone alone:

    PROOF=1 pytest tests/unit/scheduling/test_cron_oracle.py -k Kathmandu
"""

import calendar
import os
import random
import time
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from scheduling.cron import Cron

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu"]
FIRST, LAST = date(2024, 1, 1), date(2032, 12, 31)
MINUTE, SLOT, DAY = timedelta(minutes=1), timedelta(minutes=15), timedelta(days=1)
SPECS = 320
WHOLE = bool(os.environ.get("PROOF"))
SEED = int(os.environ.get("SEED") or (1 if WHOLE else time.time()))

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# Always among them: what other schedulers get wrong, and what people write.
NASTY = [
    "0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "0 12 * * 0-6", "0 12 * * 5-7", "*/15 3 * * *", "30 2 * * *", "@hourly",
    "@daily", "@weekly", "@monthly", "@yearly", "0 0 29 2 *", "0 0 29 2 1", "0 0 31 * *", "0 0 L * *", "0 0 LW * *",
    "59 23 31 12 *", "0 0 13 * 5", "0 0 */2 * 5", "0 0 13 * */2", "0 0 * * 5#5", "0 0 * * 5L", "0 0 * 2 1#5",
    "0 0 1,15 * mon", "0,30 2 * * *", "*/15 2 * * *", "*/30 0-3 * * *", "0 */3 * * *", "5/20 1 * * *", "0 0 L 2 *",
    "1-59/29 0 * * *", "0 22-23 * jan-mar,dec mon-fri", "45 1 * * *", "0 2 * * sun", "15 0 * 3,4,10,11 *",
    "0 0 30,31 * *", "0 1 L,15 * *", "30 1-2 * * *", "0 0 L * 1", "*/7 * 1 1 *",
]  # fmt: skip


# What a field means, read here once more and without looking at Cron.


def number(text, names, low):
    return names.index(text) + low if text in names else int(text)


def plain(field, low, high, names=()):
    """The values of a field of stars, numbers, ranges, steps and lists."""
    values = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = (number(each, names, low) for each in span.split("-"))
        else:
            first = number(span, names, low)
            last = high if step else first
        values |= set(range(first, last + 1, int(step or 1)))
    return values


def day_of_month_fits(field, day):
    length = calendar.monthrange(day.year, day.month)[1]
    for part in field.split(","):
        if part == "L":
            fits = day.day == length
        elif part == "LW":  # the last day that is no Saturday and no Sunday
            fits = day.day == max(n for n in range(1, length + 1) if day.replace(day=n).weekday() < 5)
        else:
            fits = day.day in plain(part, 1, 31)
        if fits:
            return True
    return False


def weekday_fits(field, day):
    weekday = day.isoweekday() % 7
    for part in field.split(","):
        if part.endswith("l"):
            fits = weekday == int(part[:-1]) % 7 and (day + 7 * DAY).month != day.month
        elif "#" in part:
            name, nth = part.split("#")
            fits = weekday == number(name, WEEKDAYS, 0) % 7 and (day.day + 6) // 7 == int(nth)
        else:
            fits = weekday in {value % 7 for value in plain(part, 0, 7 if part != "*" else 6, WEEKDAYS)}
        if fits:
            return True
    return False


class Meaning:
    """What the five fields of a spec say, asked of a wall's date and time."""

    def __init__(self, text):
        minute, hour, self.day, month, weekday = NAMES.get(text, text).split()
        self.rhythm = minute.startswith("*") or hour.startswith("*")
        self.minutes, self.hours = plain(minute, 0, 59), plain(hour, 0, 23)
        self.months, self.weekday = plain(month, 1, 12, MONTHS), weekday.lower()
        self.both = self.day.startswith("*") or weekday.startswith("*")
        self.fitting_days = {}

    def fits_day(self, day):
        if day not in self.fitting_days:
            one, other = day_of_month_fits(self.day, day), weekday_fits(self.weekday, day)
            in_month = day.month in self.months
            self.fitting_days[day] = in_month and ((one and other) if self.both else (one or other))
        return self.fitting_days[day]

    def fits(self, wall):
        return wall.minute in self.minutes and wall.hour in self.hours and self.fits_day(wall.date())


@cache
def slots(zone, day):
    """Every quarter of an hour that a zone's clock shows on a date: (moment, wall). No clock changes inside one."""
    there = ZoneInfo(zone)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=there).astimezone(UTC)
    found = []
    for n in range(-4 * 15, 4 * 15):
        moment = noon + n * SLOT
        wall = moment.astimezone(there).replace(tzinfo=None)
        if wall.date() == day:
            found.append((moment, wall))
    return found


@cache
def changes(zone):
    """Every clock change of the years: (first moment after it, the wall if it had not come, the wall)."""
    there, found = ZoneInfo(zone), []
    day = datetime(FIRST.year, 1, 1, tzinfo=UTC)
    while day.year <= LAST.year:
        if day.astimezone(there).utcoffset() != (day + DAY).astimezone(there).utcoffset():
            for n in range(4 * 24):
                before, after = ((day + n * SLOT + each).astimezone(there) for each in (timedelta(0), SLOT))
                if before.utcoffset() != after.utcoffset():
                    walls = before.replace(tzinfo=None) + SLOT, after.replace(tzinfo=None)
                    found.append((day + (n + 1) * SLOT, *walls))
        day += DAY
    return found


def walk(meaning, zone, days):
    """Every due minute on these dates of the zone, by the rule that Cron's docstring states."""
    found, seen = set(), set()
    for moment, wall in quarters(meaning, zone, days):
        for minute in meaning.minutes & set(range(wall.minute, wall.minute + 15)):
            here = wall.replace(minute=minute)
            if meaning.rhythm or here not in seen:
                seen.add(here)
                found.add(moment + (here - wall))
    return sorted(found if meaning.rhythm else found | after_gaps(meaning, zone, days))


def quarters(meaning, zone, days):
    for day in filter(meaning.fits_day, sorted(days)):
        yield from (slot for slot in slots(zone, day) if slot[1].hour in meaning.hours)


def after_gaps(meaning, zone, days):
    """The first minutes after gaps that skip a time of day."""
    found = set()
    for moment, skipped, after in changes(zone):
        if after > skipped and {skipped.date(), after.date()} & days:
            walls = [skipped + n * MINUTE for n in range(int((after - skipped) / MINUTE))]
            if any(meaning.fits(wall) for wall in walls):
                found.add(moment)
    return found


# The sample.


def draw_field(draw, low, high, names=(), dense=True):
    first, last = sorted(draw.sample(range(low, high + 1), 2))
    step = draw.randint(2, 9)
    kinds = ["a", "a", "a,b", "a-b/n", "a/n", "names" if names else "a"]
    kind = draw.choice([*kinds, "*", "*/n", "a-b", "a-b,c"] if dense else kinds)
    named = [names[value - low] if names else str(value) for value in (first, last)]
    return {
        "*": "*", "*/n": f"*/{step}", "a": f"{first}", "a,b": f"{last},{first}", "a-b": f"{first}-{last}",
        "a-b/n": f"{first}-{last}/{step}", "a/n": f"{first}/{step}", "a-b,c": f"{low},{first}-{last}",
        "names": f"{named[0]}-{named[1]}",
    }[kind]  # fmt: skip


def draw_spec(draw):
    hour = draw.choice([draw_field(draw, 0, 23), "2", "1-3", "*/2", "0"])
    minute = draw_field(draw, 0, 59, dense=draw.random() < 0.3)
    day = draw.choice(["*", "*", draw_field(draw, 1, 31), draw_field(draw, 1, 28), "L", "LW", "L,1", "*/3"])
    month = draw.choice(["*", "*", draw_field(draw, 1, 12, MONTHS)])
    weekday = draw.choice(
        ["*", "*", draw_field(draw, 0, 6, WEEKDAYS), f"{draw.randint(0, 7)}#{draw.randint(1, 5)}",
         f"{draw.randint(0, 7)}L", "5-7", "1-5", f"{draw.choice(WEEKDAYS)}#{draw.randint(1, 4)}"]
    )  # fmt: skip
    return f"{minute} {hour} {day} {month} {weekday}"


def sample(count, seed):
    """The nasty ones and others drawn; those that fall on no day of the years have nothing to be compared by."""
    draw, found = random.Random(seed), list(NASTY)
    days = [FIRST + n * DAY for n in range((LAST - FIRST).days)]
    while len(found) < count:
        spec = draw_spec(draw)
        if any(Meaning(spec).fits_day(day) for day in days):
            found.append(spec)
    return found


def windows(draw, zone):
    """Dates to compare on: around a clock change, around the end of a February and of another month, and any other."""
    years = range(FIRST.year, LAST.year)
    february, month = date(draw.choice(years), 2, 28), date(draw.choice(years), draw.randint(2, 12), 1)
    there = [draw.choice(changes(zone))[1].date()] if changes(zone) else []
    return [
        [middle + n * DAY for n in range(-1, 3)]
        for middle in [*there, february, month, FIRST + draw.randint(9, 3000) * DAY]
    ]


def compare(spec, zone, days):
    expected = walk(Meaning(spec), zone, set(days))
    there = ZoneInfo(zone)
    first, end = (datetime.combine(day, datetime.min.time(), there) for day in (days[0], days[-1] + DAY))
    found = list(
        Cron(spec, zone).due_between(first.astimezone(UTC) - timedelta(seconds=1), end.astimezone(UTC) - MINUTE)
    )
    # A midnight that a change skips belongs to the day on which its minute is due.
    inside = [due for due in expected if first <= due < end]
    assert found == inside, (spec, zone, days[0], sorted(set(found) ^ set(inside))[:5])
    return len(found)


@pytest.mark.skipif(WHOLE, reason="the whole is compared instead")
@pytest.mark.parametrize("zone", ZONES)
def test_a_sample_of_specs_is_due_when_a_minute_walk_says_so(zone):
    print(f"SEED={SEED}")  # noqa: T201  to run the same again
    draw = random.Random(f"{SEED} {zone}")
    compared = 0
    for n, spec in enumerate(sample(SPECS, SEED)):
        there = windows(draw, zone)
        for days in there if n < len(NASTY) else [there[n % len(there)]]:
            compared += compare(spec, zone, days)
    assert compared > SPECS


@pytest.mark.skipif(not WHOLE, reason="PROOF=1 compares every day of nine years")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("zone", ZONES)
def test_every_spec_is_due_when_a_minute_walk_says_so_on_every_day_of_nine_years(zone):
    days = [FIRST + n * DAY for n in range(2, (LAST - FIRST).days - 2)]
    compared = sum(compare(spec, zone, days) for spec in sample(SPECS, SEED))
    print(f"{SPECS} specs in {zone}: {compared} due times agree, SEED={SEED}")  # noqa: T201
    assert compared > SPECS * 100


# The second opinion.


def means_something_else(spec):
    """Why croniter is not asked about a spec; each was looked at, and Cron follows cronsim and Debian there."""
    _, _, day, _, weekday = NAMES.get(spec, spec).split()
    if "LW" in day or "L" in weekday:
        return "it has no LW, and writes the last Friday L5, where 5L is usual"
    if "#" in weekday and day != "*":
        return "with # it asks for both days, where Debian's rule for two restricted fields asks for one"
    if "/" in weekday:
        return "a step among weekdays ends on Saturday there, and on Sunday as 7 here"
    return None


def test_croniter_says_the_same_of_every_spec_that_it_reads_the_same():
    start, asked = datetime(2026, 1, 1, tzinfo=UTC), 0
    for spec in sample(SPECS, SEED):
        if means_something_else(spec) is None:
            mine = [due for due, _ in zip(Cron(spec).due_between(start, start + 3000 * DAY), range(20), strict=False)]
            theirs = croniter(spec, start, implement_cron_bug=True, max_years_between_matches=20)
            assert [theirs.get_next(datetime) for _ in mine] == mine, spec
            asked += 1
    assert asked > SPECS / 3
