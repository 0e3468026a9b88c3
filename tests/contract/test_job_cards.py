"""What the person on call can rely on for every job of the site."""

import inspect
import json
import sys
from datetime import timedelta

import pytest

import actors
from scheduling.timetable import TIMETABLE
from workers.broker import setup_broker
from workers.declaration import Actor

# RabbitMQ takes a message back from a consumer that has not settled it for so long (deploy/rabbitmq/rabbitmq.conf).
CONSUMER_TIMEOUT = timedelta(minutes=30)
JOBS = {
    name: actor
    for name, actor in setup_broker().actors.items()
    if actor.fn.__module__.partition(".")[0] == actors.__name__
}


def per_job(test):
    return pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)(test)


def test_the_site_has_jobs():
    assert JOBS


def test_every_job_that_a_module_declares_is_known_to_workers():
    loaded = [module for name, module in sys.modules.items() if name.partition(".")[0] == actors.__name__]
    declared = {value for module in loaded for value in vars(module).values() if isinstance(value, Actor)}

    assert declared == set(JOBS.values())


@per_job
def test_a_job_has_a_card(job):
    assert isinstance(job, Actor), "declare it with `from workers import actor`"
    assert all(said.strip() for said in (job.card.owner, job.card.expects, job.card.rollback))


@per_job
def test_a_job_has_a_time_limit_of_its_own_below_the_broker_s(job):
    limit = timedelta(milliseconds=job.options["time_limit"])

    assert timedelta(seconds=1) <= limit < CONSUMER_TIMEOUT


@per_job
def test_a_job_names_its_queue(job):
    assert job.queue_name != "default"


@per_job
def test_a_job_says_in_one_line_what_it_does(job):
    assert inspect.getdoc(job.fn), "dutiful actors show has nothing to say about it"


@per_job
def test_a_job_takes_json_by_name(job):
    parameters = job.contract.signature.parameters.values()

    assert all(each.annotation is not inspect.Parameter.empty for each in parameters), "each argument has an annotation"
    json.dumps(job.contract.model.model_json_schema())


@pytest.mark.parametrize("schedule", TIMETABLE, ids=lambda schedule: schedule.name)
def test_a_schedule_names_a_job_of_the_site_and_gives_it_arguments_that_it_takes(schedule):
    job = JOBS[schedule.actor.actor_name]

    assert job is schedule.actor
    assert job.contract.check((), schedule.arguments).wire == schedule.arguments
