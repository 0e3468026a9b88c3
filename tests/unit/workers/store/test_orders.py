import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from workers import jobs
from workers.errors import ClaimLost, StoreError
from workers.store import groups, keys, outbox, tables
from workers.store.engine import begin
from workers.store.holders import Holder

JOB = {"actor": "content.build", "key": "post 1"}
TARGET = ("content.build", "post 1")
MESSAGE = JOB | {"message_id": "m-1", "arguments_hash": "abc", "attempt": 1, "generation": 0}
ENDINGS = {"wait": ("waiting", 2), "bury": ("dead", None), "release": ("waiting", None)}


@pytest.fixture
def holder(engine):
    return Holder.register(engine)


def take(engine, holder, **changes):
    with begin(engine) as connection:
        return keys.claim(connection, keys.Request(**(MESSAGE | changes)), holder=holder.id)


def end(engine, state, holder, claim, attempt=None):
    with begin(engine) as connection:
        keys.end(connection, keys.Ending(**JOB, holder=holder.id, fence=claim.fence, state=state, attempt=attempt))


def found(engine):
    with begin(engine) as connection:
        return keys.find(connection, *TARGET)


def known(engine):
    (job,) = jobs.show(engine, key="post 1").jobs
    return job


def test_a_key_that_nobody_has_seen_can_be_canceled_and_never_begins(engine, holder):
    assert jobs.cancel(engine, *TARGET, reason="wrong post") is None

    for attempt, generation in ((1, 0), (3, 0), (1, 2)):
        claim = take(engine, holder, attempt=attempt, generation=generation)
        assert (claim.outcome, claim.recorded.state) == ("duplicate", "canceled")


def test_a_job_that_waits_for_its_next_attempt_is_canceled(engine, holder):
    end(engine, "waiting", holder, take(engine, holder), attempt=2)

    assert jobs.cancel(engine, *TARGET, reason="enough").state == "waiting"

    assert take(engine, holder, attempt=2).recorded.state == "canceled"


def test_a_job_that_was_canceled_while_it_ran_may_still_succeed(engine, holder):
    claim = take(engine, holder)
    assert jobs.cancel(engine, *TARGET, reason="enough").state == "running"

    end(engine, "done", holder, claim)

    assert (found(engine).state, found(engine).holder) == ("done", None)


@pytest.mark.parametrize("how", ENDINGS)
def test_any_other_ending_leaves_it_canceled(engine, holder, how):
    claim = take(engine, holder)
    jobs.cancel(engine, *TARGET, reason="enough")

    end(engine, ENDINGS[how][0], holder, claim, ENDINGS[how][1])

    assert (found(engine).state, found(engine).holder) == ("canceled", None)


def test_nobody_takes_over_a_canceled_job_from_a_process_that_died(engine, holder):
    take(engine, holder)
    jobs.cancel(engine, *TARGET, reason="enough")
    holder.release()

    claim = take(engine, Holder.register(engine))

    assert (claim.outcome, claim.recorded.state) == ("duplicate", "canceled")


def test_who_does_not_hold_a_canceled_job_can_not_end_it(engine, holder):
    claim = take(engine, holder)
    jobs.cancel(engine, *TARGET, reason="enough")

    with pytest.raises(ClaimLost):
        end(engine, "done", Holder.register(engine), claim)


@pytest.mark.parametrize("state", ["done", "dead", "discarded", "canceled"])
def test_a_job_that_has_ended_can_not_be_canceled(engine, holder, state):
    take(engine, holder)
    with begin(engine) as connection:
        connection.execute(update(tables.keys).values(state=state, holder=None))

    with pytest.raises(StoreError, match=f"received {state} since"):
        jobs.cancel(engine, *TARGET, reason="too late")

    assert found(engine).state == state
    assert known(engine).audit == []


def test_a_cancel_and_a_claim_at_the_same_time_agree(engine, holder):
    for number in range(30):
        key, start = f"race {number}", threading.Barrier(2)

        def claiming(key=key, start=start):
            start.wait()
            return take(engine, holder, key=key)

        def canceling(key=key, start=start):
            start.wait()
            return jobs.cancel(engine, JOB["actor"], key, reason="race")

        with ThreadPoolExecutor(2) as pool:
            claimed, before = pool.submit(claiming), pool.submit(canceling)
            assert (claimed.result().outcome == "run") == (before.result() is not None)


def test_a_forgotten_key_runs_again(engine, holder):
    end(engine, "done", holder, take(engine, holder))
    assert take(engine, holder).outcome == "duplicate"

    assert jobs.rerun(engine, *TARGET, reason="its effect was undone").state == "done"

    assert take(engine, holder).outcome == "run"


def test_a_job_that_runs_can_not_be_run_again_and_the_refusal_says_where_it_is(engine, holder):
    take(engine, holder)

    with pytest.raises(StoreError, match=f"received running, by pid {holder.pid} on ") as refused:
        jobs.rerun(engine, *TARGET, reason="impatience")

    assert not refused.value.safe_to_retry
    assert found(engine).state == "running"


def test_a_job_that_ran_in_a_process_that_died_can_be_forgotten(engine, holder):
    take(engine, holder)
    holder.release()

    assert jobs.rerun(engine, *TARGET, reason="its message was purged").state == "running"


def test_a_job_with_messages_still_to_publish_can_not_be_forgotten(engine, holder):
    claim = take(engine, holder)
    with begin(engine) as connection:
        outbox.add(connection, **JOB, messages=[outbox.Outgoing("child", b"{}", 500)])
    end(engine, "done", holder, claim)

    with pytest.raises(StoreError, match="1 messages still to publish"):
        jobs.rerun(engine, *TARGET, reason="again")

    assert known(engine).unsent == 1


def test_a_key_that_nobody_knows_can_not_be_forgotten(engine):
    with pytest.raises(StoreError, match="no such key"):
        jobs.rerun(engine, *TARGET, reason="again")


def test_every_order_is_in_the_audit_trail_for_as_long_as_the_key_and_longer(engine):
    jobs.cancel(engine, *TARGET, reason="wrong post", who="ann@desk")
    jobs.rerun(engine, *TARGET, reason="right after all", who="bob@desk")

    job = known(engine)
    assert job.record is None
    assert [(line.who, line.action, line.reason) for line in job.audit] == [
        ("ann@desk", "canceled", "wrong post"),
        ("bob@desk", "forgotten", "right after all"),
    ]


def test_a_job_is_found_by_key_by_message_and_by_the_messages_it_waits_to_send(engine, holder):
    take(engine, holder)
    with begin(engine) as connection:
        outbox.add(connection, **JOB, messages=[outbox.Outgoing("child", b"{}", 500)])

    for asked in ({"key": "post 1"}, {"message_id": "m-1"}, {"key": "post 1", "actor": "content.build"}):
        (job,) = jobs.show(engine, **asked).jobs
        assert (job.record.state, job.holder.pid, job.holder.alive) == ("running", holder.pid, True)
    (sent,) = jobs.show(engine, message_id="child").unsent
    assert (sent.actor, sent.key, sent.delay_ms) == ("content.build", "post 1", 500)
    assert jobs.show(engine, key="post 1", actor="another") == jobs.Findings()
    assert jobs.show(engine, message_id="unknown") == jobs.Findings()


def test_a_group_is_found_by_its_id(engine):
    with begin(engine) as connection:
        groups.create(connection, "feed 7", 2, open=True)
        groups.count(connection, "feed 7", "m-1")

    group = jobs.show(engine, message_id="feed 7").group

    assert (group.counted, group.expected, group.open, group.completed_at) == (1, 2, True, None)
