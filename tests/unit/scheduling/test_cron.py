"""Cron agrees with a walk over every minute, on ordinary days and when the clock changes."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pendulum
import pytest

from scheduling.cron import Cron, ScheduleError
from workers.errors import ConfigurationError

MINUTE = timedelta(minutes=1)
MONTHS_FROM_MARCH = ["mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"

# Each zone with the first minute after its two clock changes of 2026. Lord Howe's clock moves by half an hour, Troll's
# by two hours, Cairo's at midnight; Kolkata's never moves.
CHANGES = {
    "Europe/Berlin": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "Australia/Lord_Howe": ("2026-04-04T15:00", "2026-10-03T15:30"),
    "Antarctica/Troll": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "Africa/Cairo": ("2026-04-23T22:00", "2026-10-29T21:00"),
    "Asia/Kolkata": ("2026-03-01T00:00", "2026-10-01T00:00"),
    "UTC": ("2026-02-28T00:00", "2026-12-31T00:00"),
}


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(moment, zone):
    return moment.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes")


def dues(cron, after, until):
    found = []
    while (after := cron.next_valid_date(after)) <= until:
        found.append(after)
    return found


# A minute walk, which shares nothing with Cron: the sample's specs are drawn together with the values they mean.


@dataclass
class Field:
    text: str
    values: set[int]

    @property
    def star(self):
        return self.text.startswith("*")


def draw_field(draw, low, high, names=()):
    step, first, last = draw.randint(2, 7), *sorted(draw.sample(range(low, high + 1), 2))
    kind = draw.choice(["*", "*/n", "a", "a,b", "a-b", "a-b/n", "name" if names else "a"])
    return {
        "*": Field("*", set(range(low, high + 1))),
        "*/n": Field(f"*/{step}", set(range(low, high + 1, step))),
        "a": Field(f"{first}", {first}),
        "a,b": Field(f"{last},{first}", {first, last}),
        "a-b": Field(f"{first}-{last}", set(range(first, last + 1))),
        "a-b/n": Field(f"{first}-{last}/{step}", set(range(first, last + 1, step))),
        "name": Field(names[first - low], {first}) if names else None,
    }[kind]


def draw_spec(draw):
    hour = (
        draw_field(draw, 0, 23) if draw.random() < 0.5 else draw.choice([Field("2", {2}), Field("0-3", {0, 1, 2, 3})])
    )
    day = draw_field(draw, 1, 28) if draw.random() < 0.4 else Field("*", set(range(1, 32)))
    month = draw_field(draw, 3, 12, MONTHS_FROM_MARCH) if draw.random() < 0.3 else None
    weekday = draw_field(draw, 0, 6, WEEKDAYS) if draw.random() < 0.5 else None
    return [
        draw_field(draw, 0, 59),
        hour,
        day if not day.star else Field("*", set(range(1, 32))),
        month if month and not month.star else Field("*", set(range(1, 13))),
        weekday or Field("*", set(range(7))),
    ]


def fits(spec, wall):
    minute, hour, day, month, weekday = spec
    on_day, on_weekday = wall.day in day.values, wall.isoweekday() % 7 in weekday.values
    day_fits = (on_day and on_weekday) if day.star or weekday.star else (on_day or on_weekday)
    return wall.minute in minute.values and wall.hour in hour.values and wall.month in month.values and day_fits


def walk(spec, zone, after, until):
    """Every due minute, from the rule as the docstring states it, one minute after the other."""
    rhythm = spec[0].star or spec[1].star
    found, seen = [], set()
    wall = (after - timedelta(days=1)).astimezone(zone).replace(tzinfo=None)
    moment = after - timedelta(days=1)
    while moment < until:
        moment += MINUTE
        before, wall = wall, moment.astimezone(zone).replace(tzinfo=None)
        if rhythm:
            due = fits(spec, wall)
        else:
            skipped = [before + MINUTE * n for n in range(1, int((wall - before) / MINUTE))]
            due = any(fits(spec, each) for each in [*skipped, wall]) and wall not in seen
            seen.add(wall)
        if due and moment > after:
            found.append(moment)
    return found


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("change", [0, 1], ids=["first change", "second change"])
def test_a_sample_of_specs_is_due_in_the_same_minutes_as_a_minute_walk(zone, change):
    draw = random.Random(f"{zone} {change}")
    middle = utc(CHANGES[zone][change])
    checked = 0
    for _ in range(8):
        spec = draw_spec(draw)
        text = " ".join(field.text for field in spec)
        after = middle - timedelta(minutes=draw.randint(0, 2000))
        until = middle + timedelta(minutes=draw.randint(60, 2000))
        expected = walk(spec, ZoneInfo(zone), after, until)
        cron = Cron(text, zone)
        assert dues(cron, after, until) == expected, text
        assert cron.latest_due(after, until) == (expected[-1] if expected else None), text
        for moment in draw.sample(range(int((until - after) / MINUTE)), 20):
            minute = after + MINUTE * (moment + 1)
            assert cron.validate(minute + timedelta(seconds=59)) == (minute in expected), f"{text} at {minute}"
        checked += len(expected)
    assert checked > 0


def test_from_every_minute_around_a_change_the_next_due_time_is_the_walks_next():
    zone = ZoneInfo(BERLIN)
    days = [Field("*", set(range(1, 32))), Field("*", set(range(1, 13))), Field("*", set(range(7)))]
    for minute in (Field("30", {30}), Field("*/20", {0, 20, 40})):
        spec = [minute, Field("2", {2}), *days]
        cron = Cron(" ".join(field.text for field in spec), BERLIN)
        for change in CHANGES[BERLIN]:
            start = utc(change) - timedelta(hours=3)
            expected = walk(spec, zone, start, start + timedelta(days=2))
            for minutes in range(360):
                moment = start + MINUTE * minutes
                assert cron.next_valid_date(moment) == next(due for due in expected if due > moment)


@pytest.mark.parametrize(
    ("zone", "day", "due"),
    [
        (BERLIN, "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        (BERLIN, "2026-10-24T12:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        (NEW_YORK, "2026-03-07T12:00", ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"]),
        (NEW_YORK, "2026-10-31T12:00", ["2026-11-01T02:30-05:00", "2026-11-02T02:30-05:00"]),
    ],
)
def test_half_past_two_is_due_once_on_a_day_with_a_clock_change(zone, day, due):
    found = dues(Cron("30 2 * * *", zone), utc(day), utc(day) + timedelta(days=2))
    assert [local(moment, zone) for moment in found] == due


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (BERLIN, "2026-03-29T00:00", ["01:30+01:00", "03:30+02:00", "04:30+02:00"]),
        (BERLIN, "2026-10-25T00:00", ["02:30+02:00", "02:30+01:00", "03:30+01:00"]),
        (NEW_YORK, "2026-03-08T06:00", ["01:30-05:00", "03:30-04:00", "04:30-04:00"]),
        (NEW_YORK, "2026-11-01T05:00", ["01:30-04:00", "01:30-05:00", "02:30-05:00"]),
    ],
)
def test_a_rhythm_goes_with_the_clock_on_a_day_with_a_clock_change(zone, day, hours):
    found = dues(Cron("30 * * * *", zone), utc(day), utc(day) + timedelta(hours=3))
    assert [local(moment, zone).partition("T")[2] for moment in found] == hours


@pytest.mark.parametrize(
    ("change", "daily", "hourly", "quarters"),
    [
        (0, "02:30+11 02:30+10:30 02:30+10:30", "01:00+11 02:00+10:30", "45+11 30+10:30 45+10:30 00+10:30"),
        (1, "02:30+10:30 02:30+11 02:30+11", "01:00+10:30 03:00+11", "45+10:30 30+11 45+11 00+11"),
    ],
    ids=["back by half an hour at two", "ahead by half an hour at two"],
)
def test_a_clock_that_moves_by_half_an_hour_is_followed_like_any_other(change, daily, hourly, quarters):
    zone = "Australia/Lord_Howe"
    middle = utc(CHANGES[zone][change])

    def around(spec, before, after):
        span = middle - timedelta(hours=before), middle + timedelta(hours=after)
        found = [local(due, zone).partition("T")[2] for due in Cron(spec, zone).due_between(*span)]
        return [text.replace("+11:00", "+11") for text in found]

    assert around("30 2 * * *", 30, 30) == daily.split()
    assert around("0 * * * *", 1.1, 0.9) == hourly.split()
    assert [text.partition(":")[2] for text in around("*/15 * * * *", 0.3, 0.5)] == quarters.split()


def test_a_moment_in_the_second_of_two_equal_hours_is_followed_by_a_later_one():
    second_round = utc("2026-10-25T01:15")  # 02:15 in Berlin, for the second time
    assert local(Cron("30 2 * * *", BERLIN).next_valid_date(second_round), BERLIN) == "2026-10-26T02:30+01:00"


def test_the_second_round_of_a_time_of_day_is_not_valid():
    cron = Cron("30 2 * * *", BERLIN)
    assert cron.validate(utc("2026-10-25T00:30"))
    assert not cron.validate(utc("2026-10-25T01:30"))


@pytest.mark.parametrize("spec", ["0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "@weekly", "0 0 * * SUN"])
def test_sunday_is_due_on_sunday_however_it_is_written(spec):
    sunday = utc("2026-11-22T00:00")
    assert Cron(spec).validate(sunday)
    assert Cron(spec).next_valid_date(sunday - timedelta(days=3)) == sunday


@pytest.mark.parametrize(
    ("name", "due"),
    [
        ("@yearly", "2027-01-01T00:00"),
        ("@annually", "2027-01-01T00:00"),
        ("@monthly", "2026-12-01T00:00"),
        ("@weekly", "2026-11-29T00:00"),
        ("@daily", "2026-11-26T00:00"),
        ("@midnight", "2026-11-26T00:00"),
        ("@Hourly", "2026-11-25T13:00"),
    ],
)
def test_a_name_stands_for_its_spec(name, due):
    assert Cron(name).next_valid_date(utc("2026-11-25T12:34")) == utc(due)


def test_a_day_of_month_and_a_day_of_week_combine_as_in_debian():
    start, end = utc("2026-11-01T00:00") - MINUTE, utc("2026-11-30T23:59")
    either = [due.day for due in dues(Cron("0 0 13 * fri"), start, end)]
    both = [due.day for due in dues(Cron("0 0 */2 * fri"), start, end)]
    assert either == [6, 13, 20, 27]
    assert both == [13, 27]


def test_the_next_due_time_is_strictly_later():
    cron = Cron("*/5 * * * *")
    due = utc("2026-11-22T10:05")
    assert cron.next_valid_date(due) == due + timedelta(minutes=5)
    assert cron.next_valid_date(due - timedelta(microseconds=1)) == due
    assert cron.next_valid_date(due + timedelta(microseconds=1)) == due + timedelta(minutes=5)


def test_a_leap_day_is_found_years_ahead():
    assert Cron("0 0 29 2 *").next_valid_date(utc("2096-03-01T00:00")) == utc("2104-02-29T00:00")


def test_the_latest_due_time_is_found_across_a_long_absence():
    assert Cron("0 0 29 2 *").latest_due(utc("2001-01-01T00:00"), utc("2026-11-22T00:00")) == utc("2024-02-29T00:00")
    assert Cron("* * * * *").latest_due(utc("2001-01-01T00:00"), utc("2026-11-22T00:00")) == utc("2026-11-22T00:00")
    assert Cron("0 0 29 2 *").latest_due(utc("2024-02-29T00:00"), utc("2026-11-22T00:00")) is None


def test_nothing_is_due_in_a_span_that_runs_backwards():
    assert Cron("* * * * *").latest_due(utc("2026-11-22T12:00"), utc("2026-11-22T11:00")) is None


def test_the_scheduler_loop_can_subtract_its_own_kind_of_time():
    now = pendulum.datetime(2026, 11, 22, 10, 59, 30, tz=NEW_YORK)
    cron = Cron("@hourly", BERLIN)
    assert (cron.next_valid_date(now) - now).total_seconds() == 30
    assert cron.validate(now.add(seconds=30))


@pytest.mark.parametrize(
    "spec",
    [
        "0 0 30 2 *",
        "0 0 31 2,4,6 *",
        "61 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "a * * * *",
        "* * * *",
        "0 * * * * *",
        "@reboot",
        "",
    ],
)
def test_a_spec_that_can_not_work_is_refused_where_it_is_declared(spec):
    with pytest.raises(ScheduleError) as refused:
        Cron(spec)
    assert isinstance(refused.value, ConfigurationError)
    assert isinstance(refused.value, ValueError)
    assert refused.value.expected
    assert repr(spec) in refused.value.received
    assert not refused.value.safe_to_retry


def test_a_rhythm_that_only_ever_falls_into_the_gap_is_refused():
    with pytest.raises(ScheduleError, match="due once in 50 years"):
        Cron("*/30 2 * 3 7L", BERLIN)  # the last Sunday in March: the clock never shows two
    assert Cron("*/30 2 * 3 7L", "UTC").validate(utc("2026-03-29T02:30"))


@pytest.mark.parametrize(("zone", "hint"), [("Europe/Berln", "Europe/Berlin"), ("", "IANA"), ("../UTC", "IANA")])
def test_an_unknown_zone_is_refused_where_it_is_declared(zone, hint):
    with pytest.raises(ScheduleError) as refused:
        Cron("@daily", zone)
    assert hint in refused.value.expected
    assert refused.value.received == repr(zone)


def test_a_moment_without_a_zone_is_refused():
    naive = utc("2026-11-22T12:00").replace(tzinfo=None)
    for question in (Cron("@daily").validate, Cron("@daily").next_valid_date):
        with pytest.raises(ScheduleError, match="without one"):
            question(naive)


def test_two_crons_with_one_spec_and_zone_are_equal_and_can_not_be_changed():
    assert Cron("@daily", BERLIN) == Cron("@daily", BERLIN)
    assert Cron("@daily", BERLIN) != Cron("@daily")
    assert str(Cron("@daily", BERLIN)) == "@daily Europe/Berlin"
    with pytest.raises(AttributeError):
        Cron("@daily").spec = "@hourly"
