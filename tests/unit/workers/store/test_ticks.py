import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from workers.store import keys, tick_outcomes, ticks
from workers.store.engine import begin
from workers.store.keys import Ending, Request

DAY = timedelta(days=1)
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


def record(engine, schedule, due, number, **more):
    with begin(engine) as connection:
        return ticks.record(connection, schedule, due, message_id=f"m-{number}", key=f"k-{number}", **more)


def test_a_schedule_that_never_ran_has_no_latest_tick(engine):
    assert call(engine, ticks.latest, "nightly") is None


def test_the_latest_tick_is_that_of_its_own_schedule_and_not_an_operators(engine):
    record(engine, "nightly", DUE, 1)
    record(engine, "nightly", DUE - DAY, 0)
    record(engine, "nightly", DUE + DAY, 2, kind="manual")
    record(engine, "hourly", DUE + 9 * DAY, 9)
    assert call(engine, ticks.latest, "nightly").due_at == DUE


def test_a_tick_is_taken_once(engine):
    assert record(engine, "nightly", DUE, 1)
    assert not record(engine, "nightly", DUE, 1)
    assert record(engine, "hourly", DUE, 2)


def test_the_same_due_time_in_another_zone_is_the_same_tick(engine):
    assert record(engine, "nightly", DUE, 1)
    assert not record(engine, "nightly", DUE.astimezone(), 1)


def test_of_eight_schedulers_one_takes_a_tick(engine):
    start = threading.Barrier(8)

    def compete(_scheduler):
        start.wait(timeout=10)
        return record(engine, "nightly", DUE, 1)

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(compete, range(8))) == [False] * 7 + [True]


def test_recorded_ticks_are_listed_until_their_jobs_have_ended(engine):
    for schedule, due, number in (("nightly", DUE + DAY, 2), ("nightly", DUE, 1), ("removed", DUE, 3)):
        record(engine, schedule, due, number)
    first, second = call(engine, ticks.unended, ["nightly"])
    assert (first.message_id, second.message_id) == ("m-1", "m-2")
    call(engine, ticks.published, first, "site.sweep", "k-1")
    assert call(engine, ticks.unended, ["nightly"])[0].published_at is not None
    assert call(engine, ticks.last_published, "nightly").due_at == DUE

    with begin(engine) as connection:
        claim = keys.claim(connection, Request("site.sweep", "k-1", "m-1", "h", 1, 0), holder="a")
        keys.end(connection, Ending("site.sweep", "k-1", "a", claim.fence, "done"))
    (ended,) = call(engine, tick_outcomes.settle, ["nightly"])
    assert (ended.message_id, ended.outcome) == ("m-1", "succeeded")
    assert call(engine, tick_outcomes.settle, ["nightly"]) == []  # told once
    assert [tick.message_id for tick in call(engine, ticks.unended, ["nightly"])] == ["m-2"]
    assert call(engine, ticks.last_succeeded, "nightly").due_at == DUE
    assert call(engine, ticks.unended, []) == []


def test_a_tick_that_was_skipped_says_why_and_looks_published_to_an_older_release(engine):
    record(engine, "nightly", DUE, 1, skipped="paused")
    (tick,) = call(engine, ticks.history, "nightly", 5)
    assert (tick.outcome, tick.ended_at is None, tick.published_at is None) == ("paused", False, False)
    assert call(engine, ticks.unended, ["nightly"]) == []
    assert call(engine, ticks.last_published, "nightly") is None
    assert call(engine, ticks.last_not_skipped, "nightly") is None
    assert call(engine, ticks.latest, "nightly").due_at == DUE


def test_only_a_tick_that_has_ended_is_recorded_again(engine):
    record(engine, "nightly", DUE, 1, skipped="missed")
    with begin(engine) as connection:
        assert ticks.record_again(connection, "nightly", DUE, message_id="m-2", key="k-2")
        assert not ticks.record_again(connection, "nightly", DUE, message_id="m-3", key="k-3")
    (tick,) = call(engine, ticks.unended, ["nightly"])
    assert (tick.message_id, tick.key, tick.published_at, tick.outcome) == ("m-2", "k-2", None, None)
