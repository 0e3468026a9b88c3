"""The site's timetable can run as it stands."""

from datetime import timedelta

import pytest

from scheduling.timetable import TIMETABLE
from workers.broker import setup_broker
from workers.clock import utcnow


@pytest.mark.parametrize("schedule", TIMETABLE, ids=lambda schedule: schedule.name)
def test_a_schedule_names_a_job_that_workers_know_and_is_due_within_a_year(schedule):
    assert setup_broker().actors[schedule.actor.actor_name] is schedule.actor
    assert schedule.when.next_valid_date(utcnow()) < utcnow() + timedelta(days=366)


def test_no_process_but_a_scheduler_has_the_stand_in():
    assert "scheduling.tick" not in setup_broker().actors
