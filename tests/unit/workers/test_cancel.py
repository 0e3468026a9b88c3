"""A canceled job, as the middleware and the job itself see it."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from workers import PermanentFailure, RetryLater, actor, current_job
from workers import jobs as orders
from workers.broker import setup_broker
from workers.errors import Deferred

CARD = {"owner": "tests", "expects": "nothing", "rollback": "none"}
ran = []
raised = []
setup_broker()


@actor(**CARD, key="{order}", actor_name="pack", max_retries=3, min_backoff=timedelta(seconds=1))
def pack(order: int) -> None:
    ran.append(("began", order, current_job().canceled))
    orders.cancel(current_job().engine, "pack", str(order), reason="the customer has left")
    ran.append(("went on", order, current_job().canceled))
    if raised:
        raise raised[0]


@actor(**CARD, key="{order}", actor_name="bill")
def bill(order: int) -> None:
    with current_job().transaction() as connection:
        connection.execute(text("CREATE TABLE bills (number INTEGER)"))
        if order:
            raise RuntimeError("no paper")


@actor(**CARD, key=None, actor_name="peep")
def peep() -> None:
    ran.append(current_job().canceled)


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()
    raised.clear()


def test_a_job_that_was_canceled_before_it_was_sent_does_not_run(jobs):
    orders.cancel(jobs.store, "pack", "1", reason="too early")

    pack.send(order=1)
    pack.send(order=2)
    jobs.run()

    assert jobs.outcomes == [("pack", "canceled"), ("pack", "succeeded")]
    assert [entry[1] for entry in ran] == [2, 2]


def test_a_delayed_job_that_was_canceled_does_not_run_when_it_is_due(jobs):
    bill.send_with_options(kwargs={"order": 0}, delay=60_000)
    orders.cancel(jobs.store, "bill", "0", reason="it was a mistake")

    jobs.clock.advance(timedelta(minutes=2))
    jobs.run()

    assert jobs.outcomes == [("bill", "canceled")]


def test_a_job_waiting_for_its_next_attempt_is_not_tried_again(jobs):
    bill.send(order=1)
    jobs.run()
    orders.cancel(jobs.store, "bill", "1", reason="it will never work")

    jobs.clock.advance(timedelta(hours=2))
    jobs.run()

    assert jobs.outcomes == [("bill", "retried"), ("bill", "canceled")]
    assert not jobs.dead_letters


def test_a_running_job_sees_that_it_is_canceled_and_may_succeed_all_the_same(jobs):
    pack.send(order=1)
    jobs.run()

    assert ran == [("began", 1, False), ("went on", 1, True)]
    assert jobs.outcomes == [("pack", "succeeded")]
    assert orders.show(jobs.store, key="1").jobs[0].record.state == "done"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("broken"),
        PermanentFailure("stopped"),
        RetryLater("busy", delay=timedelta(1)),
        Deferred("later", why="still_running", delay=timedelta(1)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_running_job_that_is_canceled_and_does_not_succeed_ends_there(jobs, error):
    raised.append(error)

    pack.send(order=1)
    jobs.run()
    jobs.clock.advance(timedelta(days=2))
    jobs.run()

    assert jobs.outcomes == [("pack", "canceled")]
    assert not jobs.dead_letters
    assert len(jobs.published) == 1
    record = orders.show(jobs.store, key="1").jobs[0].record
    assert (record.state, record.holder) == ("canceled", None)


def test_a_job_without_a_record_is_never_canceled(jobs):
    peep.send()
    jobs.run()

    assert ran == [False]
