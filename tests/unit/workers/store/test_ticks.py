import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from workers.store import ticks
from workers.store.engine import begin

DUE = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def call(engine, function, *arguments):
    with begin(engine) as connection:
        return function(connection, *arguments)


def test_a_schedule_is_first_seen_once(engine):
    seen = call(engine, ticks.first_seen, "nightly", "0 3 * * *")
    assert seen.utcoffset() == timedelta(0)
    assert call(engine, ticks.first_seen, "nightly", "0 3 * * *") == seen


def test_a_changed_spec_is_seen_anew(engine):
    seen = call(engine, ticks.first_seen, "nightly", "0 3 * * *")
    changed = call(engine, ticks.first_seen, "nightly", "0 4 * * *")
    assert changed > seen
    assert call(engine, ticks.first_seen, "nightly", "0 4 * * *") == changed


def test_a_schedule_that_never_ran_has_no_last_due_time(engine):
    assert call(engine, ticks.last_due, "nightly") is None


def test_the_last_due_time_is_the_latest_of_its_own_schedule(engine):
    call(engine, ticks.record, "nightly", DUE, "m-1")
    call(engine, ticks.record, "nightly", DUE - timedelta(days=1), "m-0")
    call(engine, ticks.record, "hourly", DUE + timedelta(days=9), "m-9")
    assert call(engine, ticks.last_due, "nightly") == DUE


def test_a_tick_is_taken_once(engine):
    assert call(engine, ticks.record, "nightly", DUE, "m-1")
    assert not call(engine, ticks.record, "nightly", DUE, "m-1")
    assert call(engine, ticks.record, "hourly", DUE, "m-2")


def test_the_same_due_time_in_another_zone_is_the_same_tick(engine):
    assert call(engine, ticks.record, "nightly", DUE, "m-1")
    assert not call(engine, ticks.record, "nightly", DUE.astimezone(), "m-1")


def test_of_eight_schedulers_one_takes_a_tick(engine):
    start = threading.Barrier(8)

    def compete(_scheduler):
        start.wait(timeout=10)
        return call(engine, ticks.record, "nightly", DUE, "m-1")

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(compete, range(8))) == [False] * 7 + [True]


def test_recorded_ticks_are_listed_until_they_are_published(engine):
    later = DUE + timedelta(days=1)
    call(engine, ticks.record, "nightly", later, "m-2")
    call(engine, ticks.record, "nightly", DUE, "m-1")
    call(engine, ticks.record, "removed", DUE, "m-3")
    assert call(engine, ticks.unpublished, ["nightly"]) == [("nightly", DUE, "m-1"), ("nightly", later, "m-2")]
    call(engine, ticks.published, "nightly", DUE)
    assert call(engine, ticks.unpublished, ["nightly"]) == [("nightly", later, "m-2")]
    assert call(engine, ticks.unpublished, []) == []
