"""Each schedule is treated as its own words say, when due times were missed, overlap, or are paused."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select, update

from scheduling.cron import Cron, ScheduleError
from scheduling.every import Every
from scheduling.ticks import TickEngine
from workers.store import pauses, tables

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def skipped():
    """How many due times were left out since the test began, by reason."""

    def count():
        found = {}
        for why in ("missed", "overlap", "paused"):
            labels = {"schedule": "sweep", "why": why}
            found[why] = REGISTRY.get_sample_value("dutiful_schedule_skipped_total", labels) or 0
        return found

    before = count()
    return lambda: {why: int(now - before[why]) for why, now in count().items() if now != before[why]}


def outcomes(store):
    with store.connect() as connection:
        rows = connection.execute(select(tables.ticks).order_by(tables.ticks.c.due_at)).all()
    return [(f"{row.due_at:%H:%M}", row.outcome) for row in rows]


def times(broker):
    return [key.partition("T")[2][:5] for key in broker.keys]


# No scheduler for an hour.


@pytest.mark.parametrize(
    ("policy", "run"),
    [
        ({"missed": "skip"}, []),
        ({"missed": "run_once"}, ["01:00"]),
        ({"missed": "run_all", "window": timedelta(hours=2)}, ["00:15", "00:30", "00:45", "01:00"]),
        ({"missed": "run_all", "window": timedelta(minutes=40)}, ["00:30", "00:45", "01:00"]),
    ],
    ids=["skip", "run_once", "run_all", "run_all within a window"],
)
def test_after_an_hour_without_a_scheduler_each_policy_does_what_it_says(
    schedule, store, clock, broker, *, skipped, policy, run
):
    timetable = [schedule(**policy)]
    TickEngine(store, timetable, clock).run_once()
    clock.advance(HOUR + timedelta(minutes=3))
    later = TickEngine(store, timetable, clock)
    for _ in range(3):
        later.run_once()
    left_out = {"missed": 4 - len(run)} if len(run) < 4 else {}
    assert times(broker) == run
    assert skipped() == left_out
    TickEngine(store, timetable, clock).run_once()  # and none is judged twice
    assert times(broker) == run
    assert skipped() == left_out


def test_a_due_time_two_minutes_ago_is_late_and_not_missed(schedule, store, clock, broker, skipped):
    timetable = [schedule(missed="skip")]
    TickEngine(store, timetable, clock).run_once()
    clock.advance(timedelta(minutes=15, seconds=60))
    TickEngine(store, timetable, clock).run_once()
    assert times(broker) == ["00:15"]
    assert skipped() == {}


@pytest.mark.parametrize("policy", [{"missed": "skip"}, {"missed": "run_once"}], ids=["skip", "run_once"])
def test_what_was_due_while_the_store_was_away_runs_all_of_it(schedule, store, clock, broker, *, skipped, policy):
    engine = TickEngine(store, [schedule(Cron("* * * * *"), **policy)], clock)
    engine.run_once()
    with store.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE dutiful_ticks RENAME TO away")
    for _ in range(10):
        clock.advance(MINUTE)
        engine.run_once()
        assert engine.problems()
    with store.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO dutiful_ticks")
    engine.run_once()
    assert times(broker) == [f"00:{minute:02}" for minute in range(1, 11)]
    assert skipped() == {}


# Overlap.


def run_until(engine, clock, minutes):
    for _ in range(minutes):
        clock.advance(MINUTE)
        engine.run_once()


def test_overlapping_due_times_are_published_all_the_same_unless_the_schedule_says_more(schedule, store, clock, broker):
    engine = TickEngine(store, [schedule(Cron("* * * * *"))], clock)
    engine.run_once()
    run_until(engine, clock, 3)
    assert times(broker) == ["00:01", "00:02", "00:03"]


def test_a_due_time_is_skipped_while_the_job_of_the_one_before_is_open(
    schedule, store, clock, broker, skipped, *, end_job
):
    engine = TickEngine(store, [schedule(Cron("* * * * *"), overlap="skip")], clock)
    engine.run_once()
    run_until(engine, clock, 3)
    assert times(broker) == ["00:01"]
    assert outcomes(store) == [("00:01", None), ("00:02", "overlap"), ("00:03", "overlap")]
    assert skipped() == {"overlap": 2}
    end_job(broker.keys[0])
    run_until(engine, clock, 1)
    assert times(broker) == ["00:01", "00:04"]


def test_one_due_time_waits_for_the_job_of_the_one_before_and_the_ones_after_it_are_skipped(
    schedule, store, clock, broker, skipped, *, end_job
):
    engine = TickEngine(store, [schedule(Cron("* * * * *"), overlap="queue_one")], clock)
    engine.run_once()
    run_until(engine, clock, 4)
    assert times(broker) == ["00:01"]
    assert skipped() == {"overlap": 2}
    end_job(broker.keys[0], "dead")
    engine.run_once()
    engine.run_once()  # the first look might have met another scheduler that publishes it
    assert times(broker) == ["00:01", "00:02"]


def test_a_job_that_is_open_for_too_long_holds_up_no_other(schedule, store, clock, broker):
    engine = TickEngine(store, [schedule(Cron("* * * * *"), overlap="skip", max_open=timedelta(minutes=5))], clock)
    engine.run_once()
    run_until(engine, clock, 7)
    assert times(broker) == ["00:01", "00:06"]


# What became of it.


def test_a_tick_says_when_its_job_started_and_how_it_ended(schedule, store, clock, broker, *, begin_job, end_job):
    engine = TickEngine(store, [schedule(Cron("* * * * *"))], clock)
    engine.run_once()
    run_until(engine, clock, 2)
    begin_job(broker.keys[0])
    end_job(broker.keys[1], "dead")
    clock.advance(timedelta(seconds=5))
    engine.run_once()
    with store.connect() as connection:
        first, second = connection.execute(select(tables.ticks).order_by(tables.ticks.c.due_at)).all()
    assert first.started_at is not None
    assert (first.ended_at, first.outcome) == (None, None)
    assert (second.ended_at is not None, second.outcome) == (True, "dead")
    end_job(broker.keys[0])
    engine.run_once()
    assert outcomes(store) == [("00:01", "succeeded"), ("00:02", "dead")]
    name = "dutiful_schedule_last_succeeded_timestamp_seconds"
    assert REGISTRY.get_sample_value(name, {"schedule": "sweep"}) == clock().timestamp()


def test_a_tick_whose_job_left_no_trace_in_a_month_ends_as_unknown(schedule, store, clock, broker):
    engine = TickEngine(store, [schedule(Cron("0 1 25 10 *"))], clock)
    engine.run_once()
    clock.advance(HOUR)
    engine.run_once()
    clock.advance(timedelta(days=31))
    engine.run_once()
    assert outcomes(store) == [("01:00", "unknown")]


# Paused.


def test_a_paused_schedule_leaves_its_due_times_out_until_its_time_is_over(schedule, store, clock, broker, skipped):
    engine = TickEngine(store, [schedule(Cron("* * * * *"))], clock)
    engine.run_once()
    with store.begin() as connection:
        pauses.pause(connection, "schedule", "sweep", reason="a move", until=clock() + timedelta(minutes=3))
    run_until(engine, clock, 4)
    assert times(broker) == ["00:04"]
    assert outcomes(store)[:3] == [("00:01", "paused"), ("00:02", "paused"), ("00:03", "paused")]
    assert skipped() == {"paused": 3}


def test_a_schedule_that_is_resumed_goes_on(schedule, store, clock, broker):
    engine = TickEngine(store, [schedule(Cron("* * * * *"))], clock)
    with store.begin() as connection:
        pauses.pause(connection, "schedule", "sweep", reason="a move", until=None)
    engine.run_once()
    run_until(engine, clock, 2)
    with store.begin() as connection:
        assert pauses.resume(connection, "schedule", "sweep")
        assert not pauses.resume(connection, "schedule", "sweep")
    run_until(engine, clock, 1)
    assert times(broker) == ["00:03"]


# Jitter and seconds.


def test_jitter_puts_a_due_time_off_by_the_same_time_everywhere_and_changes_no_key(schedule, store, clock, broker):
    late = schedule(Cron("* * * * *"), jitter=timedelta(seconds=50))
    assert timedelta(0) < late.delay < timedelta(seconds=50)
    assert late.delay == schedule(Cron("0 0 * * *"), jitter=timedelta(seconds=50)).delay
    assert late.delay != schedule(name="another", jitter=timedelta(seconds=50)).delay
    engine = TickEngine(store, [late], clock)
    engine.run_once()
    clock.advance(timedelta(seconds=30) + late.delay - timedelta(milliseconds=1))
    engine.run_once()
    assert broker.keys == []
    clock.advance(timedelta(milliseconds=1))
    engine.run_once()
    assert broker.keys == ["sweep@2026-10-25T00:01:00Z"]


def test_every_so_many_seconds_is_counted_from_the_epoch(schedule, store, clock, broker):
    every = Every(7)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    due = list(every.due_between(start, start + MINUTE))
    assert all(each.timestamp() % 7 == 0 for each in due)
    assert every.latest_due(start, start + MINUTE) == due[-1]
    assert every.next_valid_date(due[0]) == due[1]
    assert every.latest_due(due[0], due[0] + timedelta(seconds=6)) is None
    assert every.validate(due[0])
    assert not every.validate(due[0] + timedelta(seconds=1))
    engine = TickEngine(store, [schedule(Every(20))], clock)
    engine.run_once()
    run_until(engine, clock, 1)
    assert broker.keys == [f"sweep@2026-10-25T00:0{at}Z" for at in ("0:40", "1:00", "1:20")]


@pytest.mark.parametrize("seconds", [0, -1, 1.5, True, "5"])
def test_every_refuses_what_is_no_number_of_seconds(seconds):
    with pytest.raises(ScheduleError, match="whole seconds"):
        Every(seconds)


@pytest.mark.parametrize(
    "policies",
    [
        {"missed": "later"},
        {"overlap": "maybe"},
        {"missed": "run_all"},
        {"window": HOUR},
        {"missed": "run_all", "window": timedelta(0)},
        {"max_open": timedelta(0)},
        {"jitter": timedelta(seconds=-1)},
    ],
    ids=str,
)
def test_words_that_no_policy_has_are_refused_where_they_are_declared(schedule, policies):
    with pytest.raises(ScheduleError) as refused:
        schedule(**policies)
    assert refused.value.expected
    assert refused.value.received


def test_a_row_that_an_older_scheduler_wrote_is_published_under_its_own_key(schedule, store, clock, broker):
    engine = TickEngine(store, [schedule(Cron("* * * * *"))], clock)
    engine.run_once()
    broker.away = True
    run_until(engine, clock, 1)
    with store.begin() as connection:
        connection.execute(update(tables.ticks).values(key=None))
    broker.away = False
    engine.run_once()
    assert broker.keys == ["sweep@2026-10-25T00:01:00Z"]
    assert outcomes(store) == [("00:01", None)]
