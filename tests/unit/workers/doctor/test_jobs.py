"""What the doctor says about the jobs and their timetable."""

import re
import sys
from datetime import timedelta

import dramatiq
import pytest

from workers.broker import setup_broker
from workers.declaration import actor
from workers.doctor import jobs
from workers.limits import Limits

DAY = timedelta(days=1)


@pytest.fixture
def plain():
    """Make an actor of Dramatiq's own, which no declaration of ours has looked at."""
    broker = setup_broker()

    def make(**options):
        broker.actors.pop("doctor.plain", None)
        return dramatiq.Actor(
            lambda: None, broker=broker, actor_name="doctor.plain", queue_name="x", priority=0, options=options
        )

    yield make
    broker.actors.pop("doctor.plain", None)


@pytest.fixture
def timetable(tmp_path, monkeypatch):
    """Write a package with a timetable, and look at it: timetable("TIMETABLE = ...")."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file written twice in a second would be read once
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "__init__.py").touch()
    begin = "from actors import sitemap\nfrom scheduling.cron import Cron\nfrom scheduling.schedule import Schedule\n"

    def look(text, actors=None):
        (tmp_path / "plan" / "timetable.py").write_text(begin + text)
        for name in [name for name in sys.modules if name.partition(".")[0] == "plan"]:
            del sys.modules[name]
        lines, _ = jobs.timetable("plan", setup_broker().actors if actors is None else actors)
        return lines

    yield look
    for name in [name for name in sys.modules if name.partition(".")[0] == "plan"]:
        del sys.modules[name]


GOOD = 'TIMETABLE = [Schedule("a", sitemap.build, Cron("* * * * *"), {"reason": "x"}, owner="t")]\n'
FLAWED = {
    "an unknown actor": ("TIMETABLE = [sitemap.gone]\n", "plan.timetable can't be imported", "no attribute 'gone'"),
    "no timetable": ("", "plan.timetable can't be imported", "no attribute 'TIMETABLE'"),
    "broken arguments": (GOOD.replace("reason", "raison"), "the schedule 'a' can't work", "raison"),
    "an unknown zone": (GOOD.replace('* *"', '* *", "Europe/Berln"'), "", "Europe/Berln"),
    "an actor without a key": (
        "from workers import actor\n"
        'loose = actor(actor_name="loose", key=None, owner="t", expects="e", rollback="r")(lambda: None)\n'
        + GOOD.replace("sitemap.build", "loose"),
        "the schedule 'a' can't work",
        "key=None",
    ),
}


@pytest.mark.parametrize("case", FLAWED)
def test_a_timetable_that_can_t_work_says_which_line_and_why(case, timetable):
    text, what, received = FLAWED[case]

    (line,) = timetable(text)
    setup_broker().actors.pop("loose", None)

    assert line.verdict == "wrong"
    assert what in line.what
    assert received in line.received
    assert line.mend == "# edit plan/timetable.py"
    assert timetable(GOOD)[0].verdict == "ok"  # that is what mends it


def test_a_schedule_of_an_actor_that_no_worker_imports_is_wrong(timetable):
    (line,) = timetable(GOOD, actors={})

    assert line.what == "the schedule 'a' names an actor that no worker knows"
    assert line.received == "sitemap.build"
    assert line.mend == "# import its module in the package's __init__.py"
    assert timetable(GOOD, actors=setup_broker().actors)[0].verdict == "ok"


def test_the_site_s_own_jobs_and_timetable_are_fine():
    actors = {name: each for name, each in setup_broker().actors.items() if each.fn.__module__.startswith("actors.")}
    lines, schedules = jobs.timetable("scheduling", actors)

    assert [line.verdict for line in (*lines, *jobs.contracts(actors), *jobs.limits(actors, Limits()))] == ["ok"] * 3
    assert jobs.keys(7 * DAY, actors, schedules, backoff=DAY, waiting=timedelta(0))[0].verdict == "ok"


def test_a_limit_that_rabbitmq_does_not_wait_for_is_wrong_until_it_is_shorter(plain):
    (line,) = jobs.limits({"doctor.plain": plain(hard_time_limit=1_790_000)}, Limits())

    assert line.verdict == "wrong"
    assert "RabbitMQ would give its job to somebody else while it runs" in line.what
    assert line.received == "hard_time_limit 0:29:50"
    assert line.mend == "# give doctor.plain shorter limits, or checkpoints"
    assert jobs.limits({"doctor.plain": plain(hard_time_limit=60_000, time_limit=1_000)}, Limits())[0].verdict == "ok"


def test_a_soft_limit_that_is_not_below_the_hard_one_is_wrong_until_it_is(plain):
    (line,) = jobs.limits({"doctor.plain": plain(hard_time_limit=60_000, time_limit=60_000)}, Limits())

    assert line.what == "actor doctor.plain can't be declared: time_limit is not below hard_time_limit"
    assert line.received == "0:01:00"
    assert line.mend == "# give doctor.plain shorter limits, or checkpoints"
    assert jobs.limits({"doctor.plain": plain(hard_time_limit=60_000, time_limit=59_000)}, Limits())[0].verdict == "ok"


def test_an_actor_without_a_contract_is_named(plain):
    assert jobs.contracts({"doctor.plain": plain()})[0].what == "1 actors; without a contract or a card: doctor.plain"


def test_a_contract_that_can_t_be_told_to_others_is_wrong_until_its_annotations_can():
    class Broken:
        @classmethod
        def model_json_schema(cls):
            raise TypeError("no schema")

    declared = actor(actor_name="odd", owner="t", expects="e", rollback="r")(lambda: None)
    setup_broker().actors.pop("odd")
    model, declared.contract.model = declared.contract.model, Broken

    (line,) = jobs.contracts({"odd": declared})

    assert line.what == "the contract of odd can't be written as a JSON schema"
    assert line.received == "TypeError: no schema"
    assert line.mend == "# change the annotations of odd"
    declared.contract.model = model
    assert jobs.contracts({"odd": declared})[0].verdict == "ok"


def test_keys_that_go_before_the_last_copy_comes_are_wrong_until_they_are_kept_for_longer():
    waiting = jobs.delay_of([3, 23])

    (line,) = jobs.keys(7 * DAY, {}, [], backoff=DAY, waiting=waiting)
    name, seconds = re.fullmatch(r"export (\w+)=(\d+)", line.mend).groups()

    assert line.verdict == "wrong"
    assert name == "DUTIFUL_STORE__KEY_TTL_SECONDS"
    assert line.expected.endswith("the longest delay, 9 days, 17:01:00.800000 (a message that waits in RabbitMQ)")
    assert jobs.keys(timedelta(seconds=int(seconds)), {}, [], backoff=DAY, waiting=waiting)[0].verdict == "ok"
