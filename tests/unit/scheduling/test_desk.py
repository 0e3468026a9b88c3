"""Operators see where a schedule stands, and have it run, wait, or make up for what was left out."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from scheduling import desk
from scheduling.cron import Cron, ScheduleError
from scheduling.every import Every
from scheduling.ticks import TickEngine
from tests import commands
from tests.commands import unset
from workers.store import audit, tables

ROOT = Path(__file__).parents[3]
MINUTE = timedelta(minutes=1)
MINUTELY = Cron("* * * * *")


@pytest.fixture
def three_runs(schedule, store, clock, broker, end_job):
    """A schedule that was due three times: one has succeeded, one has died, one has not begun."""
    minutely = schedule(MINUTELY)
    engine = TickEngine(store, [minutely], clock)
    engine.run_once()
    for _ in range(3):
        clock.advance(MINUTE)
        engine.run_once()
    end_job(broker.keys[0])
    end_job(broker.keys[1], "dead")
    engine.run_once()
    return minutely, engine


def test_the_overview_says_what_is_next_what_was_last_and_how_late_it_is(three_runs, store):
    minutely, _ = three_runs
    (state,) = desk.overview(store, [minutely])
    assert f"{state.next_due:%H:%M}" == "00:04"
    assert f"{state.last.due_at:%H:%M}" == "00:03"
    assert state.last.outcome is None
    assert state.late_seconds == 30
    assert state.pause is None


def test_a_schedule_that_was_never_due_has_no_last(schedule, store):
    (state,) = desk.overview(store, [schedule()])
    assert (state.last, state.late_seconds) == (None, None)


def test_the_history_shows_the_newest_first(three_runs, store):
    minutely, _ = three_runs
    found = desk.history(store, minutely, 2)
    assert [(f"{tick.due_at:%H:%M}", tick.outcome) for tick in found] == [("00:03", None), ("00:02", "dead")]


def test_a_manual_run_is_a_job_of_its_own_beside_the_due_times(three_runs, store, broker, clock):
    minutely, engine = three_runs
    tick = desk.run(store, minutely, reason="a customer asked")
    assert broker.ids[-1] == tick.message_id
    assert broker.keys[-1].startswith("sweep@manual-2026-10-25T00:03:30.")
    clock.advance(MINUTE)
    engine.run_once()
    assert broker.keys[-1] == "sweep@2026-10-25T00:04:00Z"
    assert [tick.kind for tick in desk.history(store, minutely, 2)] == ["scheduled", "manual"]
    with store.connect() as connection:
        line = connection.execute(select(tables.audit)).one()
    assert (line.who, line.action, line.reason) == (audit.operator(), "ran schedule", "a customer asked")


def span(first, last):
    return tuple(datetime(2026, 10, 25, 0, minute, tzinfo=UTC) for minute in (first, last))


def test_a_backfill_runs_what_was_left_out_and_leaves_alone_what_has_run_or_is_open(
    schedule, store, clock, broker, end_job
):
    timetable = [schedule(MINUTELY, missed="skip")]
    TickEngine(store, timetable, clock).run_once()
    clock.advance(5 * MINUTE)
    engine = TickEngine(store, timetable, clock)
    engine.run_once()  # 1 to 3 are left out; 4 and 5 are late
    end_job(broker.keys[0])
    engine.run_once()
    steps = desk.plan_backfill(store, timetable[0], *span(1, 5), again=False)
    assert [step for _, step in steps] == ["run", "run", "run", "has run", "is open"]
    assert desk.backfill(store, timetable[0], steps, reason="the outage") == 3
    for _ in range(2):
        engine.run_once()
    assert [key[-6:-4] for key in broker.keys] == ["04", "05", "01", "02", "03"]
    assert desk.plan_backfill(store, timetable[0], *span(1, 3), again=True) == [
        (datetime(2026, 10, 25, 0, minute, tzinfo=UTC), "is open") for minute in (1, 2, 3)
    ]


def test_a_backfill_runs_what_has_run_once_more_only_when_told_to_and_under_another_key(
    three_runs, store, broker, clock, end_job
):
    minutely, engine = three_runs
    for n in (1, 2):
        steps = desk.plan_backfill(store, minutely, *span(1, 1), again=True)
        assert [step for _, step in steps] == ["run again"]
        assert desk.backfill(store, minutely, steps, reason="the effect was lost") == 1
        for _ in range(2):
            engine.run_once()
        assert broker.keys[-1] == f"sweep@2026-10-25T00:01:00Z#{n}"
        end_job(broker.keys[-1])
        engine.run_once()


def test_a_backfill_of_a_schedule_that_allows_no_overlap_runs_one_after_the_other(
    schedule, store, clock, broker, end_job
):
    timetable = [schedule(MINUTELY, overlap="skip")]
    clock.advance(10 * MINUTE)
    engine = TickEngine(store, timetable, clock)
    steps = desk.plan_backfill(store, timetable[0], *span(1, 3), again=False)
    assert desk.backfill(store, timetable[0], steps, reason="it is new") == 3
    for minute in (1, 2, 3):
        for _ in range(3):
            engine.run_once()
        assert [key[-6:-4] for key in broker.keys] == [f"0{n}" for n in range(1, minute + 1)]
        end_job(broker.keys[-1])


@pytest.mark.parametrize(
    ("first", "last"), [(2, 1), (datetime(2026, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC))], ids=str
)
def test_a_backfill_that_ends_before_it_begins_or_in_the_future_is_refused(schedule, store, first, last):
    begins, ends = span(first, last) if isinstance(first, int) else (first, last)
    with pytest.raises(ScheduleError, match="not in the future"):
        desk.plan_backfill(store, schedule(), begins, ends, again=False)


def test_a_backfill_of_too_many_due_times_is_refused(schedule, store):
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(ScheduleError, match="at most 10000 due times"):
        desk.plan_backfill(store, schedule(Every(1)), begins, begins + timedelta(days=1), again=False)


def test_an_unknown_schedule_is_refused_with_the_names_there_are(schedule):
    with pytest.raises(ScheduleError, match="expected one of sweep"):
        desk.find([schedule()], "swep")


@pytest.fixture
def dutiful(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").touch()
    (tmp_path / "shop/timetable.py").write_text(
        "from scheduling.cron import Cron\n"
        "from scheduling.schedule import Schedule\n"
        "from workers import actor\n"
        "from workers.broker import setup_broker\n"
        "setup_broker()\n"
        "@actor(actor_name='shop.sweep', owner='x', expects='x', rollback='x')\n"
        "def sweep(): ...\n"
        "TIMETABLE = (Schedule('sweep', sweep, Cron('30 2 * * *', 'Europe/Berlin'), owner='x'),)\n"
    )
    defaults = {"DUTIFUL_STORE__URL": f"sqlite:///{tmp_path}/store.db", "DUTIFUL_RABBITMQ__URL": "memory://"}

    def run(*words):
        return commands.dutiful(*words, environment=unset() | defaults | {"PYTHONPATH": f"{tmp_path}:{ROOT}"})

    return run


def test_the_commands_say_what_the_desk_says(dutiful):
    shop = ("--package", "shop")
    assert dutiful("store", "migrate").returncode == 0
    (due, *_) = json.loads(dutiful("schedules", "next", "sweep", "--count", "2", "--json", *shop).stdout)
    assert due["there"].split()[1] == "02:30:00"

    paused = dutiful("schedules", "pause", "sweep", "--reason", "a move", "--until", "2099-01-01T00:00Z", *shop)
    assert (paused.returncode, "paused, until 2099-01-01" in paused.stdout) == (0, True)
    (line,) = json.loads(dutiful("schedules", "list", "--json", *shop).stdout)
    assert (line["schedule"], line["pause"]["reason"], line["last"]) == ("sweep", "a move", None)
    assert dutiful("schedules", "resume", "sweep").returncode == 0
    assert dutiful("schedules", "resume", "sweep").returncode == 1

    ran = dutiful("schedules", "run", "sweep", "--reason", "why not", *shop)
    assert ran.returncode == 0, ran.stderr
    (tick,) = json.loads(dutiful("schedules", "history", "sweep", "--json", *shop).stdout)
    assert (tick["kind"], tick["message_id"] in ran.stdout) == ("manual", True)

    march = ("--from", "2026-03-28T00:00Z", "--to", "2026-03-30T00:00Z")
    dry = dutiful("schedules", "backfill", "sweep", *march, *shop)
    assert "run: 2\nnothing was done" in dry.stdout
    done = dutiful("schedules", "backfill", "sweep", *march, "--yes", "--reason", "it is new", "--json", *shop)
    assert json.loads(done.stdout)["recorded"] == 2

    wrong = dutiful("schedules", "history", "swep", *shop)
    assert (wrong.returncode, "expected one of sweep; received swep" in wrong.stderr) == (1, True)
    naive = dutiful("schedules", "pause", "sweep", "--reason", "x", "--until", "2099-01-01", *shop)
    assert (naive.returncode, "a time with its zone" in naive.stderr) == (2, True)
