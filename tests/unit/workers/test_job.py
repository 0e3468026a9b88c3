"""A job as it sees itself: its deadline, its checkpoints, and where transaction() can't hold."""

from contextlib import suppress
from datetime import timedelta

import dramatiq
import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import PendingRollbackError

from workers import RetryLater, actor, current_job
from workers.broker import setup_broker
from workers.clock import utcnow
from workers.errors import ConfigurationError, PublishRefused, StoreUnavailable
from workers.store import keys, tables
from workers.store.engine import begin

CARD = {"owner": "tests", "expects": "a word in a list", "rollback": "none"}
BROKER = setup_broker()
seen = []
act = []


@pytest.fixture(autouse=True)
def _fresh():
    seen.clear()
    act.clear()


@actor(
    **CARD, actor_name="job.acting", time_limit=timedelta(minutes=3), max_retries=3, min_backoff=timedelta(seconds=1)
)
def acting(word: str = "") -> None:
    act[0](current_job())


@actor(**CARD, actor_name="job.child")
def child(n: int) -> None:
    seen.append(f"child {n}")


@dramatiq.actor(actor_name="job.endless", time_limit=float("inf"))
def endless():
    seen.append(current_job().deadline)


def run_as(jobs, behaviour, times=1):
    act.append(behaviour)
    acting.send()
    for _ in range(times):
        jobs.run()
        jobs.clock.advance(timedelta(minutes=1))


def left(jobs):
    with jobs.store.begin() as connection:
        return connection.scalar(select(func.count()).select_from(tables.outbox))


def test_the_deadline_is_the_moment_of_the_soft_limit(jobs):
    began = utcnow()
    run_as(jobs, lambda job: seen.append(job.deadline))
    endless.send()
    jobs.run()

    assert timedelta(minutes=3) <= seen[0] - began < timedelta(minutes=3, seconds=20)
    assert seen[0].utcoffset() == timedelta(0)
    assert seen[1] is None


def test_a_checkpoint_is_there_in_the_same_attempt_and_in_the_next(jobs):
    def behave(job):
        seen.append((job.attempt, job.checkpoint))
        with job.transaction(checkpoint={"line": job.attempt}):
            pass
        seen.append(job.checkpoint)
        if job.attempt < 3:
            raise RetryLater("again", delay=timedelta(seconds=1))

    run_as(jobs, behave, times=3)

    first, second, third = ({"line": n} for n in (1, 2, 3))
    assert seen == [(1, None), first, (2, first), second, (3, second), third]


def test_a_checkpoint_that_the_block_fills_in_is_written_as_it_is_at_the_end(jobs):
    def behave(job):
        if job.checkpoint:
            seen.append(job.checkpoint)
            return
        data = {}
        with job.transaction(checkpoint=data):
            data["id"] = 7
        raise RuntimeError("again")

    run_as(jobs, behave, times=2)

    assert seen == [{"id": 7}]


def test_effect_checkpoint_and_messages_are_one_commit(jobs):
    def behave(job):
        if job.attempt == 1:
            with job.transaction(checkpoint=1) as connection:
                connection.execute(text("CREATE TABLE IF NOT EXISTS parts (n INTEGER)"))
                connection.execute(text("INSERT INTO parts VALUES (1)"))
                child.send(1)
            with job.transaction(checkpoint=2) as connection:
                connection.execute(text("INSERT INTO parts VALUES (2)"))
                child.send(2)
                raise RuntimeError("in the middle")
        with job.transaction() as connection:
            seen.append((job.checkpoint, connection.execute(text("SELECT n FROM parts")).scalars().all()))

    run_as(jobs, behave, times=2)

    assert seen == ["child 1", (1, [1])]
    assert left(jobs) == 0


def test_what_a_checkpoint_sends_leaves_before_the_job_ends(jobs):
    def behave(job):
        for n in range(3):
            with job.transaction(checkpoint=n):
                child.send(n)
                seen.append(("inside", len(jobs.published)))
            seen.append(("behind", len(jobs.published)))

    run_as(jobs, behave)

    assert seen[:6] == [("inside", 1), ("behind", 2), ("inside", 2), ("behind", 3), ("inside", 3), ("behind", 4)]
    assert seen[6:] == ["child 0", "child 1", "child 2"]


@pytest.mark.parametrize("dies", [False, True])
def test_what_a_checkpoint_could_not_send_is_sent_by_the_next_attempt_or_when_the_job_is_dead(jobs, monkeypatch, dies):
    send = jobs.broker.send_to_queue

    def refuse(message, delay):
        if message.actor_name == "job.child":
            raise PublishRefused("not now")
        send(message, delay)

    def behave(job):
        if job.checkpoint is None:
            with monkeypatch.context() as patched:
                patched.setattr(jobs.broker, "send_to_queue", refuse)
                with pytest.raises(PublishRefused), job.transaction(checkpoint=1):
                    child.send(1)
            raise RuntimeError("again") if not dies else KeyError("dead")

    monkeypatch.setitem(acting.options, "throws", (KeyError,))
    run_as(jobs, behave, times=2)

    assert seen == ["child 1"]
    assert left(jobs) == 0
    assert len(jobs.dead_letters) == dies


def test_a_job_that_was_taken_over_keeps_nothing_of_a_checkpoint(jobs):
    def behave(job):
        if seen:
            return
        seen.append("taken over")
        with begin(job.engine) as connection:
            connection.execute(update(tables.keys).where(tables.keys.c.key == job.key).values(fence=9))
        with job.transaction(checkpoint=1):
            child.send(1)

    run_as(jobs, behave)

    assert seen == ["taken over"]
    assert jobs.outcomes == [("job.acting", "superseded")]
    with begin(jobs.store) as connection:
        assert keys.find(connection, "job.acting", jobs.published[0].message_id).checkpoint is None


@pytest.mark.parametrize("checkpoint", [{"too": "large" * 20_000}, {1, 2}, float("inf")])
def test_a_checkpoint_that_can_not_be_kept_is_refused_and_nothing_is_committed(jobs, checkpoint):
    def behave(job):
        with job.transaction(checkpoint=checkpoint):
            child.send(1)

    run_as(jobs, behave)

    assert "can't keep its checkpoint" in jobs.dead_letters[0]["dutiful-exception-message"]
    assert seen == []


def test_a_connection_that_was_lost_is_an_outage_also_when_the_job_has_swallowed_the_error(jobs):
    def behave(job):
        with job.transaction() as connection:
            connection.execute(text("SELECT 1"))
            connection.invalidate()
            with suppress(PendingRollbackError):
                connection.execute(text("SELECT 1"))

    with pytest.raises(StoreUnavailable, match="went away"):
        raise failed_as(jobs, behave)


def failed_as(jobs, behave):
    """The error that such a job ends with."""
    found = []

    def watched(job):
        try:
            behave(job)
        except Exception as error:
            found.append(error)
            raise

    run_as(jobs, watched)
    return found[0]


def test_a_transaction_inside_another_is_refused(jobs):
    def behave(job):
        with job.transaction(checkpoint=1), job.transaction():
            pass

    run_as(jobs, behave)

    assert "one transaction() at a time" in jobs.dead_letters[0]["dutiful-exception-message"]


def test_an_actor_without_a_record_that_uses_a_transaction_is_refused_when_it_is_declared():
    with pytest.raises(ConfigurationError, match="key=None") as refused:

        @actor(**CARD, actor_name="job.keyless", key=None)
        def keyless() -> None:
            with current_job().transaction():
                pass

    assert "job.keyless" in str(refused.value)


def test_an_async_actor_without_a_record_is_refused_in_the_same_way():
    with pytest.raises(ConfigurationError, match="key=None"):

        @actor(**CARD, actor_name="job.keyless_async", key=None)
        async def keyless() -> None:
            with current_job().transaction(checkpoint=1):
                pass


def test_where_the_declaration_can_not_see_it_the_job_is_refused_when_it_asks(jobs):
    @actor(**CARD, actor_name="job.hidden", key=None)
    def hidden() -> None:
        job = current_job()
        with job.transaction(checkpoint=1):
            pass

    hidden.send()
    jobs.run()

    assert "key=None: no record" in jobs.dead_letters[0]["dutiful-exception-message"]


def test_a_transaction_of_something_else_is_nobodys_business():
    @actor(**CARD, actor_name="job.other", key=None)
    def other(database: str) -> None:
        current_job().id.upper()
        database.transaction()
