"""A schedule that can't work is refused where it is declared."""

import dramatiq
import pytest

from scheduling.cron import Cron, ScheduleError
from scheduling.schedule import Schedule, check_names
from workers.declaration import actor
from workers.memory import MemoryBroker

DAILY = Cron("@daily")
CARD = {"owner": "content", "expects": "done", "rollback": "none"}


@pytest.fixture
def broker():
    return MemoryBroker(middleware=[])


@pytest.fixture
def build(broker):
    @actor(actor_name="site.build", broker=broker, **CARD)
    def build(pages: int, *, reason: str = "") -> None: ...

    return build


def test_a_schedule_with_fitting_arguments_is_taken_and_sends_nothing(build, broker):
    schedule = Schedule("site-nightly", build, DAILY, {"pages": 3, "reason": "nightly"}, owner="content")
    assert schedule.actor is build
    assert broker.published == []


@pytest.mark.parametrize(
    "arguments", [{}, {"pages": "many"}, {"pages": 1, "reasons": "typo"}], ids=["missing", "wrong type", "unknown"]
)
def test_arguments_that_break_the_actors_contract_are_refused(build, arguments):
    with pytest.raises(ScheduleError) as refused:
        Schedule("site-nightly", build, DAILY, arguments, owner="content")
    assert "site-nightly" in refused.value.what
    assert "pages: int" in refused.value.expected


def test_an_actor_without_a_key_is_refused(broker):
    @actor(actor_name="site.ping", key=None, broker=broker, **CARD)
    def ping() -> None: ...

    with pytest.raises(ScheduleError, match="key=None"):
        Schedule("ping", ping, DAILY, owner="content")


def test_a_plain_dramatiq_actor_is_refused(broker):
    @dramatiq.actor(broker=broker)
    def plain(): ...

    with pytest.raises(ScheduleError, match="from workers import actor"):
        Schedule("plain", plain, DAILY, owner="content")


@pytest.mark.parametrize("name", ["", "Site", "site nightly", "site@night", "-site", "s" * 101])
def test_a_name_that_can_not_stand_in_a_key_is_refused(build, name):
    with pytest.raises(ScheduleError, match="a name of small letters"):
        Schedule(name, build, DAILY, {"pages": 1}, owner="content")


def test_a_schedule_without_an_owner_is_refused(build):
    with pytest.raises(ScheduleError, match="a team"):
        Schedule("site-nightly", build, DAILY, {"pages": 1}, owner=" ")


def test_two_schedules_with_one_name_are_refused(build):
    first = Schedule("site", build, DAILY, {"pages": 1}, owner="content")
    second = Schedule("site", build, Cron("@hourly"), {"pages": 2}, owner="content")
    check_names([first])
    with pytest.raises(ScheduleError) as refused:
        check_names([first, second])
    assert refused.value.received == "'site' for @daily UTC and for @hourly UTC"
