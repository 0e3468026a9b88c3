"""A job that comes too late."""

from datetime import timedelta

from workers import actor
from workers.broker import setup_broker

CARD = {"owner": "tests", "expects": "a line in a list", "rollback": "none"}
setup_broker()
ran = []


@actor(**CARD, actor_name="expiry.fleeting", expires_in=timedelta(minutes=5))
def fleeting(n: int) -> None:
    ran.append(n)


def test_a_job_that_has_waited_too_long_is_a_dead_letter_and_does_not_run(jobs):
    fleeting.send(n=1)
    jobs.clock.advance(timedelta(minutes=6))
    jobs.run()

    assert jobs.outcomes == [("expiry.fleeting", "dead")]
    assert jobs.dead_letters[0]["dutiful-reason"] == "expired"
    assert 1 not in ran


def test_a_message_s_own_word_wins(jobs):
    fleeting.send_with_options(kwargs={"n": 2}, expires_in=timedelta(minutes=10))
    jobs.clock.advance(timedelta(minutes=6))
    jobs.run()

    assert 2 in ran


def test_what_is_done_does_not_expire(jobs):
    message = fleeting.send(n=3)
    jobs.run()
    jobs.clock.advance(timedelta(minutes=6))
    jobs.broker.enqueue(message)
    jobs.run()

    assert jobs.outcomes[-1] == ("expiry.fleeting", "duplicate")


def test_a_replay_is_never_too_late(jobs):
    jobs.broker.enqueue(fleeting.message(n=4).copy(options={"generation": 1}))
    jobs.clock.advance(timedelta(minutes=6))
    jobs.run()

    assert 4 in ran
