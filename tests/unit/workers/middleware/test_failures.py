"""Failures: how an attempt that ended is dealt with."""

from datetime import timedelta

import pytest
from dramatiq import Retry
from dramatiq.middleware import Shutdown, TimeLimitExceeded

from workers import PermanentFailure, RetryLater, actor
from workers.broker import setup_broker
from workers.errors import StoreUnavailable

CARD = {"owner": "tests", "expects": "nothing", "rollback": "none"}
setup_broker()
raised = []
told = []
once = []


def fail():
    if raised:
        raise raised.pop() if once else raised[0]


def declare(name, **options):
    return actor(**CARD, actor_name=name, max_retries=2, min_backoff=timedelta(seconds=1), **options)(fail)


failing = declare("failing")
picky = declare("picky", throws=KeyError)
stubborn = declare("stubborn", retry_when=lambda used, _error: used < 4)
telling = declare("telling", on_retry_exhausted="told")


@actor(**CARD, actor_name="told")
def be_told(message: dict, used: dict) -> None:
    told.append((message["actor_name"], used))


@pytest.fixture(autouse=True)
def _nothing_is_raised():
    raised.clear()
    told.clear()
    once.clear()


def run_to_the_end(jobs):
    for _ in range(10):
        jobs.run()
        jobs.clock.advance(timedelta(hours=2))


def test_a_transient_failure_is_tried_again_and_then_dead(jobs):
    raised.append(RuntimeError("down"))
    failing.send()

    run_to_the_end(jobs)

    (letter,) = jobs.dead_letters
    assert letter["dutiful-reason"] == "retries_exhausted"
    assert letter["dutiful-attempts"] == 3
    assert letter["dutiful-exception-type"] == "RuntimeError"
    assert letter["dutiful-exception-message"] == "down"
    assert "in fail" in letter["dutiful-traceback"]
    assert letter["dutiful-first-failed-at"] < letter["dutiful-last-failed-at"]


def test_a_retry_keeps_its_id_and_counts_its_attempts(jobs):
    raised.append(RuntimeError("down"))
    sent = failing.send()

    run_to_the_end(jobs)

    assert [message.message_id for message in jobs.published] == [sent.message_id] * 3
    assert [message.options.get("attempt", 1) for message in jobs.published] == [1, 2, 3]


def test_a_job_that_succeeds_on_its_second_attempt_leaves_no_dead_letter(jobs):
    raised.append(RuntimeError("down"))
    failing.send()
    jobs.run()
    raised.clear()

    run_to_the_end(jobs)

    assert jobs.dead_letters == []
    assert len(jobs.published) == 2


def test_a_permanent_failure_is_dead_at_once(jobs):
    raised.append(PermanentFailure("no such user"))
    failing.send()

    jobs.run()

    assert [(each["dutiful-reason"], each["dutiful-attempts"]) for each in jobs.dead_letters] == [("permanent", 1)]


def test_an_exception_in_throws_is_permanent(jobs):
    raised.append(KeyError("gone"))
    picky.send()
    failing.send()

    jobs.run()

    assert [each["message"].actor_name for each in jobs.dead_letters] == ["picky"]


@pytest.mark.parametrize("error", [RetryLater("busy", delay=timedelta(hours=1)), Retry(delay=3_600_000)])
def test_a_delay_that_the_job_asks_for_is_obeyed(jobs, error):
    raised.append(error)
    failing.send()
    jobs.run()

    ((due, _, _),) = jobs.broker.delayed

    assert due == jobs.clock.now() + timedelta(hours=1)


def waits_for(attempt, jobs):
    """Seconds that jobs still wait for an attempt; a wait below a millisecond is over at once, so it isn't here."""
    now = jobs.clock.now()
    return [(due - now).total_seconds() for due, _, sent in jobs.broker.delayed if sent.options["attempt"] == attempt]


def test_backoff_grows_and_is_jittered(jobs):
    raised.append(RuntimeError("down"))
    for _ in range(30):
        failing.send()
    jobs.run()
    second = waits_for(2, jobs)
    jobs.clock.advance(timedelta(seconds=10))
    jobs.run()
    third = waits_for(3, jobs)

    assert all(0 < wait <= 2 for wait in second)
    assert all(0 < wait <= 4 for wait in third)
    assert max(third) > 2
    assert len(set(second)) > 1


def test_retry_when_decides_alone(jobs):
    raised.append(RuntimeError("down"))
    stubborn.send()

    run_to_the_end(jobs)

    assert jobs.dead_letters[0]["dutiful-attempts"] == 5


def test_an_exhausted_job_tells_the_actor_that_it_names(jobs):
    raised.append(RuntimeError("down"))
    telling.send()

    run_to_the_end(jobs)

    assert told == [("telling", {"retries": 2, "max_retries": 2})]


def test_a_time_limit_is_tried_again_and_then_its_own_reason(jobs):
    raised.append(TimeLimitExceeded())
    failing.send()

    run_to_the_end(jobs)

    assert jobs.dead_letters[0]["dutiful-reason"] == "time_limit"


@pytest.mark.parametrize("error", [Shutdown(), StoreUnavailable("away")])
def test_what_is_not_the_job_s_fault_costs_no_attempt(jobs, error):
    raised.append(error)
    once.append(error)
    failing.send()

    run_to_the_end(jobs)

    assert jobs.dead_letters == []
    assert {message.options.get("attempt", 1) for message in jobs.published} == {1}
    assert [verdict for _, verdict in jobs.outcomes][-1] == "succeeded"


def test_alike_failures_have_one_fingerprint_and_others_another(jobs):
    raised.append(PermanentFailure("user 1"))
    failing.send()
    jobs.run()
    raised[0] = PermanentFailure("user 2")
    failing.send()
    jobs.run()
    raised[0] = PermanentFailure("user 2")
    picky.send()
    jobs.run()

    first, second, other = (each["dutiful-fingerprint"] for each in jobs.dead_letters)
    assert first == second != other


def test_a_dead_letter_s_text_is_bounded(jobs):
    raised.append(PermanentFailure("x" * 1_000_000))
    failing.send()

    jobs.run()

    assert len(jobs.dead_letters[0]["dutiful-exception-message"]) <= 4_000
    assert len(jobs.dead_letters[0]["dutiful-traceback"]) <= 16_000
