"""Each due time becomes one job, whatever dies in between."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select
from structlog.testing import capture_logs

from scheduling.cron import Cron
from scheduling.schedule import Schedule
from scheduling.ticks import TickEngine
from workers.declaration import actor
from workers.store import tables
from workers.store.engine import create_store_engine
from workers.store.migrate import migrate

MINUTE = timedelta(minutes=1)
START = datetime(2026, 10, 25, 0, 0, 30, tzinfo=UTC)
MINUTELY = Cron("* * * * *")


@pytest.fixture
def minutely(sweep):
    return Schedule("sweep", sweep, MINUTELY, {"room": "kitchen"}, owner="content")


@pytest.fixture
def scheduler(store, minutely, clock):
    """A scheduler that has seen its timetable once, half a minute before the first due time."""
    engine = TickEngine(store, [minutely], clock)
    engine.run_once()
    return engine


def recorded(store):
    """Every tick on record: due time, and whether it is noted as published."""
    with store.connect() as connection:
        rows = connection.execute(select(tables.ticks).order_by(tables.ticks.c.due_at)).all()
    return [(f"{row.due_at:%H:%M}", row.published_at is not None) for row in rows]


def test_nothing_is_due_when_a_schedule_is_first_seen(scheduler, broker, store):
    assert broker.published == []
    assert recorded(store) == []


def test_a_due_schedule_is_published_with_its_arguments_and_the_ticks_key(scheduler, broker, store, clock):
    clock.advance(MINUTE)
    scheduler.run_once()
    (message,) = broker.published
    assert message.actor_name == "site.sweep"
    assert message.kwargs == {"room": "kitchen"}
    assert message.options["key"] == "sweep@2026-10-25T00:01:00Z"
    assert recorded(store) == [("00:01", True)]


def test_a_tick_is_published_once_however_often_the_engine_runs(scheduler, broker, clock):
    clock.advance(MINUTE)
    for _ in range(5):
        scheduler.run_once()
    assert len(broker.published) == 1


def test_the_key_names_the_due_time_in_utc_also_where_the_clock_shows_it_twice(store, sweep, broker, clock):
    engine = TickEngine(store, [Schedule("nightly", sweep, Cron("30 2 * * *", "Europe/Berlin"), owner="x")], clock)
    engine.run_once()
    for _ in range(4):
        clock.advance(timedelta(minutes=30))
        engine.run_once()
    assert broker.keys == ["nightly@2026-10-25T00:30:00Z"]


def test_of_the_ticks_missed_while_no_scheduler_ran_the_latest_is_made_up_for(
    scheduler, minutely, broker, store, clock
):
    clock.advance(timedelta(hours=5))
    TickEngine(store, [minutely], clock).run_once()
    assert broker.keys == ["sweep@2026-10-25T05:00:00Z"]
    assert recorded(store) == [("05:00", True)]


def test_a_schedule_with_a_new_cron_makes_up_for_nothing_before_the_change(scheduler, sweep, broker, store, clock):
    clock.advance(timedelta(hours=5))
    changed = TickEngine(store, [Schedule("sweep", sweep, Cron("*/5 * * * *"), owner="content")], clock)
    changed.run_once()
    assert broker.published == []
    clock.advance(timedelta(minutes=5))
    changed.run_once()
    assert broker.keys == ["sweep@2026-10-25T05:05:00Z"]


def test_every_tick_recorded_while_the_broker_was_away_is_published_when_it_is_back(scheduler, broker, store, clock):
    broker.away = True
    for _ in range(3):
        clock.advance(MINUTE)
        scheduler.run_once()
    assert recorded(store) == [("00:01", False), ("00:02", False), ("00:03", False)]
    broker.away = False
    scheduler.run_once()
    assert broker.keys == [f"sweep@2026-10-25T00:0{minute}:00Z" for minute in (1, 2, 3)]
    assert recorded(store) == [("00:01", True), ("00:02", True), ("00:03", True)]


def test_a_tick_whose_scheduler_died_before_publishing_is_published_by_the_next(
    scheduler, minutely, broker, store, clock
):
    clock.advance(MINUTE)
    broker.dies_before = True
    with pytest.raises(SystemExit):
        scheduler.run_once()
    broker.dies_before = False
    assert recorded(store) == [("00:01", False)]
    successor = TickEngine(store, [minutely], clock)
    successor.run_once()  # it might be another scheduler's, who is about to publish it
    assert broker.published == []
    successor.run_once()
    assert broker.keys == ["sweep@2026-10-25T00:01:00Z"]
    assert recorded(store) == [("00:01", True)]


def test_a_tick_whose_scheduler_died_after_publishing_is_published_again_under_the_same_id_and_key(
    scheduler, minutely, broker, store, clock
):
    clock.advance(MINUTE)
    broker.dies_after = True
    with pytest.raises(SystemExit):
        scheduler.run_once()
    broker.dies_after = False
    assert recorded(store) == [("00:01", False)]
    successor = TickEngine(store, [minutely], clock)
    for _ in range(4):
        successor.run_once()
    assert broker.keys == ["sweep@2026-10-25T00:01:00Z"] * 2
    assert broker.ids[0] == broker.ids[1]
    assert recorded(store) == [("00:01", True)]


def test_many_schedulers_at_once_record_and_publish_each_tick_once(minutely, broker, store, clock):
    schedulers, minutes = 4, 15
    ready = threading.Barrier(schedulers, action=lambda: clock.advance(MINUTE))

    def run(engine):
        for _ in range(minutes):
            ready.wait(timeout=30)
            engine.run_once()

    TickEngine(store, [minutely], clock).run_once()
    with capture_logs() as logs:
        threads = [threading.Thread(target=run, args=[TickEngine(store, [minutely], clock)]) for _ in range(schedulers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    expected = [f"sweep@2026-10-25T00:{minute:02}:00Z" for minute in range(1, minutes + 1)]
    assert sorted(broker.keys) == expected
    assert len(set(broker.ids)) == minutes
    assert [log["event"] for log in logs].count("tick_recorded") == minutes
    assert "tick_failed" not in {log["event"] for log in logs}


def test_of_many_schedulers_one_publishes_what_waited_for_the_broker(minutely, broker, store, clock):
    engines = [TickEngine(store, [minutely], clock) for _ in range(4)]
    broker.away = True
    for _ in range(20):
        for engine in engines:
            engine.run_once()
        clock.advance(MINUTE)
    broker.away = False
    ready = threading.Barrier(len(engines))

    def run(engine):
        ready.wait(timeout=30)
        for _ in range(3):
            engine.run_once()

    threads = [threading.Thread(target=run, args=[engine]) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(broker.keys) == [f"sweep@2026-10-25T00:{minute:02}:00Z" for minute in range(1, 21)]


def test_a_clock_that_was_an_hour_ahead_doubles_no_tick_when_it_is_set_right(scheduler, broker, clock):
    clock.advance(timedelta(hours=1))
    scheduler.run_once()
    clock.advance(timedelta(hours=-1))
    for _ in range(62):
        clock.advance(MINUTE)
        scheduler.run_once()
    assert broker.keys[:2] == ["sweep@2026-10-25T01:00:00Z", "sweep@2026-10-25T01:01:00Z"]
    assert len(broker.keys) == len(set(broker.keys)) == 3


def test_a_clock_that_is_set_back_an_hour_doubles_no_tick(scheduler, broker, clock):
    for step in (MINUTE, MINUTE, timedelta(hours=-1), *[MINUTE] * 61):
        clock.advance(step)
        scheduler.run_once()
    assert broker.keys == [f"sweep@2026-10-25T00:0{minute}:00Z" for minute in (1, 2, 3)]


def test_a_store_without_its_tables_is_logged_and_tried_again(tmp_path, minutely, broker, clock):
    store = create_store_engine(f"sqlite:///{tmp_path}/empty.db", clock=clock)
    engine = TickEngine(store, [minutely], clock)
    with capture_logs() as logs:
        engine.run_once()
    assert [log["event"] for log in logs] == ["tick_failed"]
    assert "no such table: dutiful_" in logs[0]["error"]
    migrate(store, package=None)
    engine.run_once()
    clock.advance(MINUTE)
    engine.run_once()
    assert broker.keys == ["sweep@2026-10-25T00:01:00Z"]
    store.dispose()


def test_a_store_that_fails_after_publishing_leads_to_the_same_message_again(scheduler, broker, store, clock):
    clock.advance(MINUTE)
    with store.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full_disk BEFORE UPDATE ON dutiful_ticks BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    with capture_logs() as logs:
        scheduler.run_once()
    assert [log["event"] for log in logs] == ["tick_recorded", "tick_failed"]
    with store.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER full_disk")
    scheduler.run_once()
    assert len(broker.ids) == 2
    assert len(set(broker.ids)) == 1
    assert recorded(store) == [("00:01", True)]


def gauge(name):
    return REGISTRY.get_sample_value(name, {"schedule": "sweep"})


def test_the_metrics_say_what_is_published_and_what_is_next(scheduler, broker, clock):
    next_due, last_published = (f"dutiful_schedule_{what}_timestamp_seconds" for what in ("next_due", "last_published"))
    clock.advance(MINUTE)
    first = START + timedelta(seconds=30)
    broker.away = True
    scheduler.run_once()
    assert gauge(next_due) == first.timestamp()  # it is still to come, however late
    broker.away = False
    scheduler.run_once()
    assert gauge(last_published) == first.timestamp()
    assert gauge(next_due) == (first + MINUTE).timestamp()


def test_problems_last_as_long_as_what_causes_them(scheduler, broker, clock):
    assert scheduler.problems() == []
    clock.advance(MINUTE)
    broker.away = True
    scheduler.run_once()
    assert scheduler.problems()[0].startswith("PublishUnconfirmed: the broker did not confirm")
    broker.away = False
    scheduler.run_once()
    assert scheduler.problems() == []


def test_a_scheduler_that_never_looked_at_its_timetable_has_a_problem(store, minutely):
    assert TickEngine(store, [minutely]).problems() == ["the timetable has not been looked at yet"]


def test_one_schedule_that_can_not_be_published_does_not_stop_the_others(store, minutely, broker, clock):
    @actor(actor_name="site.lost", queue_name="lost", broker=broker, owner="x", expects="x", rollback="x")
    def lost() -> None: ...

    timetable = [Schedule("a-first-of-all", lost, MINUTELY, owner="x"), minutely]
    del broker.queues["lost"]
    engine = TickEngine(store, timetable, clock)
    engine.run_once()
    clock.advance(MINUTE)
    with capture_logs() as logs:
        engine.run_once()
    assert broker.keys == ["sweep@2026-10-25T00:01:00Z"]
    assert len(engine.problems()) == 1
    (failure,) = [log for log in logs if log["event"] == "tick_failed"]
    assert failure["schedule"] == "a-first-of-all"
    assert "QueueMissing" in failure["error"]
