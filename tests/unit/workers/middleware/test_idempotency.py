"""Idempotency: a job takes effect once."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from workers import actor, admission, current_job, endings
from workers.broker import setup_broker
from workers.contracts import arguments_hash
from workers.errors import PermanentFailure, PublishRefused, StoreUnavailable
from workers.store import batches, keys, outbox

CARD = {"owner": "tests", "expects": "nothing", "rollback": "none"}
BROKER = setup_broker()
ran = []
trouble = []


@actor(**CARD, key="{order}", max_retries=1, min_backoff=timedelta(seconds=1), actor_name="charge")
def charge(order: int, amount: int = 1) -> None:
    ran.append(order)
    if trouble and isinstance(trouble[0], Exception):
        raise trouble[0]
    if trouble and callable(trouble[0]):
        trouble[0]()


@actor(**CARD, key=None, actor_name="ping")
def ping() -> None:
    ran.append("ping")


@actor(**CARD, actor_name="ping_in_a_transaction", key=None)
def ping_in_a_transaction() -> None:
    job = current_job()
    with job.transaction():
        ran.append("never")


@actor(**CARD, key="{order}", actor_name="ship", max_retries=3, min_backoff=timedelta(seconds=1))
def ship(order: int) -> None:
    with current_job().transaction() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS shipped (number INTEGER)"))
        connection.execute(text("INSERT INTO shipped VALUES (:n)"), {"n": order})
        charge.send(order=order)
        ran.append("shipped")
        if trouble and trouble[0] == "inside":
            raise RuntimeError("inside")
    if trouble and trouble[0] == "after":
        raise RuntimeError("after")


@actor(**CARD, actor_name="ship_twice")
def ship_twice() -> None:
    with current_job().transaction():
        pass
    with current_job().transaction():
        pass


@pytest.fixture(autouse=True)
def _calm():
    ran.clear()
    trouble.clear()


def shipped(jobs):
    with jobs.store.begin() as connection:
        exists = connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'shipped'")).scalar()
        return connection.execute(text("SELECT count(*) FROM shipped")).scalar() if exists else 0


def state(jobs, name, key):
    with jobs.store.begin() as connection:
        return keys.find(connection, name, key).state


def test_the_same_key_runs_once(jobs):
    for _ in range(3):
        charge.send(order=1)
    charge.send(order=2)

    jobs.run()

    assert sorted(ran) == [1, 2]
    assert jobs.dead_letters == []


def test_the_same_message_delivered_twice_runs_once(jobs):
    message = charge.send(order=1)
    jobs.broker.enqueue(message)

    jobs.run()

    assert ran == [1]


def test_a_key_that_comes_with_other_arguments_is_a_dead_letter(jobs):
    charge.send(order=1)
    charge.send(order=1, amount=2)

    jobs.run()
    jobs.clock.advance(timedelta(minutes=1))  # had it come while the first ran, it would have been put back once
    jobs.run()

    assert ran == [1]
    assert [each["dutiful-reason"] for each in jobs.dead_letters] == ["key_conflict"]


def test_a_key_in_the_message_wins_over_the_template(jobs):
    charge.send_with_options(kwargs={"order": 1}, key="a")
    charge.send_with_options(kwargs={"order": 1}, key="b")

    jobs.run()

    assert ran == [1, 1]


def test_an_actor_without_a_key_repeats(jobs):
    message = ping.send()
    jobs.broker.enqueue(message)

    jobs.run()

    assert ran == ["ping", "ping"]


def test_an_old_copy_of_a_job_that_is_being_retried_is_superseded(jobs):
    trouble.append(RuntimeError("down"))
    message = charge.send(order=1)
    jobs.run()

    jobs.broker.enqueue(message)
    jobs.run()

    assert ran == [1], "the copy of the first attempt does not run"
    trouble.clear()
    jobs.clock.advance(timedelta(minutes=1))
    jobs.run()
    assert ran == [1, 1]
    assert state(jobs, "charge", "1") == "done"


def test_a_late_duplicate_of_a_dead_job_does_not_run(jobs):
    trouble.append(PermanentFailure("no"))
    charge.send(order=1)
    jobs.run()
    trouble.clear()

    charge.send(order=1)
    jobs.run()

    assert ran == [1]
    assert state(jobs, "charge", "1") == "dead"


def test_a_replay_of_a_dead_job_runs(jobs):
    trouble.append(PermanentFailure("no"))
    charge.send(order=1)
    jobs.run()
    trouble.clear()

    charge.send_with_options(kwargs={"order": 1}, generation=1)
    jobs.run()

    assert ran == [1, 1]
    assert state(jobs, "charge", "1") == "done"


def test_a_job_that_is_running_elsewhere_is_put_back_without_a_charge(jobs):
    message = charge.send(order=1)
    claim = claimed_by_another_process(jobs, message)
    jobs.run()

    assert ran == []
    ((_, _, waiting),) = jobs.broker.delayed
    assert waiting.options["deferrals"] == 1
    assert waiting.options.get("attempt", 1) == 1

    with jobs.store.begin() as connection:
        keys.end(connection, keys.Ending("charge", "1", *claim, "done"))
    jobs.clock.advance(timedelta(minutes=1))
    jobs.run()
    assert ran == []


def test_an_effect_and_its_record_commit_together(jobs):
    ship.send(order=7)

    jobs.run()

    assert shipped(jobs) == 1
    assert state(jobs, "ship", "7") == "done"
    assert ran == ["shipped", 7]


def test_an_error_inside_the_transaction_takes_everything_back(jobs):
    trouble.append("inside")
    ship.send(order=7)
    jobs.run()

    assert shipped(jobs) == 0
    assert [message.actor_name for message in jobs.published] == ["ship", "ship"], "no charge was sent"
    trouble.clear()
    jobs.clock.advance(timedelta(minutes=1))
    jobs.run()
    assert shipped(jobs) == 1


def test_an_error_after_the_transaction_changes_nothing(jobs):
    trouble.append("after")
    ship.send(order=7)

    jobs.run()
    jobs.clock.advance(timedelta(minutes=1))
    jobs.run()

    assert shipped(jobs) == 1
    assert ran == ["shipped", 7]
    assert jobs.dead_letters == []


def test_what_a_commit_left_to_send_is_sent_by_the_next_delivery(jobs, monkeypatch):
    publish = jobs.broker.publish
    refused = iter([PublishRefused("no"), None, None, None])

    def refuse_once(message, *, delay=None):
        error = next(refused)
        if error and message.actor_name == "charge":
            raise error
        publish(message, delay=delay)

    ship.send(order=7)
    monkeypatch.setattr(jobs.broker, "publish", refuse_once)
    jobs.run()

    assert shipped(jobs) == 1
    assert ran == ["shipped", 7], "the second delivery sent what was left, and did not ship again"
    with jobs.store.begin() as connection:
        assert outbox.pending(connection, "ship", "7") == []


def test_a_transaction_without_a_record_is_refused_in_words(jobs):
    ping_in_a_transaction.send()

    jobs.run()

    assert ran == []
    assert "key=None" in jobs.dead_letters[0]["dutiful-exception-message"]


def test_a_second_transaction_does_not_undo_the_first(jobs):
    ship_twice.send()

    jobs.run()

    assert jobs.dead_letters == []


def test_while_the_store_is_away_nothing_runs_and_nothing_is_published(jobs, monkeypatch):
    monkeypatch.setattr(admission, "_PROBE_SECONDS", 0.01)
    claim = batches.claim
    outage = iter([True, True, True, False])

    def away_at_first(*args, **options):
        if next(outage):
            assert 1 not in ran
            raise StoreUnavailable("away")
        return claim(*args, **options)

    monkeypatch.setattr(batches, "claim", away_at_first)
    charge.send(order=1)
    ping.send()
    jobs.run()

    assert ran == ["ping", 1], "a job without a record needs no store"
    assert len(jobs.published) == 2
    assert jobs.outcomes == [("ping", "succeeded"), ("charge", "succeeded")]


def test_an_ending_waits_for_the_store_and_nothing_is_settled_before(jobs, monkeypatch):
    monkeypatch.setattr(endings, "_PROBE_SECONDS", 0.01)
    end = batches.end
    outage = iter([True, True, False])

    def away_at_first(*args):
        if next(outage):
            assert jobs.outcomes == []
            raise StoreUnavailable("away")
        return end(*args)

    monkeypatch.setattr(batches, "end", away_at_first)
    charge.send(order=1)
    jobs.run()

    assert ran == [1]
    assert jobs.outcomes == [("charge", "succeeded")]
    assert state(jobs, "charge", "1") == "done"


def test_a_job_that_was_taken_over_meanwhile_is_handed_back_and_counts_once(jobs, monkeypatch):
    def taken_over():
        with jobs.store.begin() as connection:
            connection.execute(text("UPDATE dutiful_keys SET fence = fence + 1, state = 'done', holder = NULL"))

    trouble.append(taken_over)
    charge.send(order=1)
    jobs.run()

    assert ran == [1]
    assert jobs.outcomes == [("charge", "interrupted"), ("charge", "duplicate")]


def claimed_by_another_process(jobs, message):
    """A live process on another host has the key."""
    with jobs.store.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO dutiful_holders (id, host, pid, pid_started, beat_at, expires_at)"
                " VALUES ('other', 'elsewhere', 1, '', :now, :later)"
            ),
            {"now": jobs.clock.now().isoformat(), "later": "2999-01-01 00:00:00.000000"},
        )
        asked = keys.Request("charge", "1", message.message_id, arguments_hash("charge", {"order": 1}), 1, 0)
        claim = keys.claim(connection, asked, holder="other")
    return "other", claim.fence
