"""A job whose arguments don't fit, while two versions of the code are at work."""

from datetime import timedelta

from workers import actor
from workers.broker import setup_broker

CARD = {"owner": "tests", "expects": "a line in a list", "rollback": "none"}
setup_broker()
ran = []


@actor(**CARD, actor_name="arguments.plain")
def plain(n: int) -> None:
    ran.append(n)


def made(n, **options):
    """A message with an argument that this version doesn't know."""
    message = plain.message(n=n)
    return message.copy(kwargs={"n": n, "more": True}, options=options)


def test_a_job_of_another_contract_waits_for_a_worker_of_that_one(jobs):
    jobs.broker.enqueue(made(1, contract="0a1b2c3d"))
    jobs.run()

    assert jobs.outcomes[0] == ("arguments.plain", "deferred")
    assert jobs.dead_letters == []


def test_after_ten_minutes_it_is_a_dead_letter(jobs):
    long_ago = int((jobs.clock.now() - timedelta(minutes=11)).timestamp() * 1000)
    jobs.broker.enqueue(made(2, contract="0a1b2c3d", first_deferred_at=long_ago, deferrals=20))
    jobs.run()

    assert [each["dutiful-reason"] for each in jobs.dead_letters] == ["contract"]
    assert 2 not in ran


def test_a_job_of_this_contract_or_of_none_is_a_dead_letter_at_once(jobs):
    jobs.broker.enqueue(made(3, contract=None))
    jobs.broker.enqueue(made(4))  # `send` says which it means
    jobs.run()

    assert [each["dutiful-reason"] for each in jobs.dead_letters] == ["contract", "contract"]


def test_a_job_of_another_contract_that_fits_runs(jobs):
    jobs.broker.enqueue(plain.message(n=5).copy(options={"contract": "0a1b2c3d"}))
    jobs.run()

    assert 5 in ran
