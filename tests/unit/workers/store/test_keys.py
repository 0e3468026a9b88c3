import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from workers.errors import ClaimLost
from workers.store import keys, outbox, tables
from workers.store.engine import begin, moment
from workers.store.holders import Holder

JOB = {"actor": "content.build", "key": "post 1"}
MESSAGE = JOB | {"message_id": "m-1", "arguments_hash": "abc", "attempt": 1, "generation": 0}
PROOF = bool(os.environ.get("PROOF"))
RACES = 10_000 if PROOF else 1_000

# Answers each line of keys with those that it ran; an effect names the process that it comes from.
TAKE_WHAT_IS_FREE = """
import os, sys
from workers.store import keys, outbox
from workers.store.engine import begin, create_store_engine
from workers.store.holders import Holder
engine = create_store_engine(sys.argv[1])
holder = Holder.register(engine)
holder.start()
print("ready", flush=True)
for line in sys.stdin:
    ran = []
    for key in line.split():
        with begin(engine) as connection:
            claim = keys.claim(connection, keys.Request("a", key, "m", "abc", 1, 0), holder=holder.id)
        if claim.outcome == "run":
            with begin(engine) as connection:
                outbox.add(connection, actor="a", key=key, messages=[outbox.Outgoing(f"{key} by {os.getpid()}", b"")])
                keys.end(connection, keys.Ending("a", key, holder.id, claim.fence, "done"))
            ran.append(key)
    print(*ran, flush=True)
"""


def take(engine, holder, **changes):
    with begin(engine) as connection:
        return keys.claim(connection, keys.Request(**(MESSAGE | changes)), holder=holder.id)


def end(engine, state, holder, claim, **more):
    with begin(engine) as connection:
        keys.end(connection, keys.Ending(**JOB, holder=holder.id, fence=claim.fence, state=state, **more))


def found(engine):
    with begin(engine) as connection:
        return keys.find(connection, JOB["actor"], JOB["key"])


def expire(engine, holder):
    """The holder's process could not beat for a whole lease."""
    with begin(engine) as connection:
        past = moment(connection) - timedelta(seconds=1)
        connection.execute(update(tables.holders).where(tables.holders.c.id == holder.id).values(expires_at=past))


def set_state(engine, state):
    with begin(engine) as connection:
        connection.execute(update(tables.keys).values(state=state, holder=None))


def test_a_new_key_runs(engine):
    holder = Holder.register(engine)
    assert take(engine, holder) == keys.Claim("run", fence=1)
    row = found(engine)
    assert (row.state, row.holder, row.attempt, row.message_id) == ("running", holder.id, 1, "m-1")


def test_a_done_key_makes_every_further_message_a_duplicate(engine):
    holder = Holder.register(engine)
    end(engine, "done", holder, take(engine, holder))
    again = take(engine, holder)
    assert (again.outcome, again.recorded.state) == ("duplicate", "done")
    assert take(engine, holder, attempt=4).outcome == "duplicate"
    assert take(engine, holder, generation=3).outcome == "duplicate"
    assert found(engine).state == "done"


@pytest.mark.parametrize("state", ["discarded", "canceled"])
def test_a_key_that_a_person_has_ended_makes_duplicates(engine, state):
    holder = Holder.register(engine)
    take(engine, holder)
    set_state(engine, state)
    assert take(engine, holder).outcome == "duplicate"
    assert take(engine, holder, generation=1).outcome == "duplicate"


def test_a_dead_key_runs_again_only_in_a_higher_generation(engine):
    holder = Holder.register(engine)
    end(engine, "dead", holder, take(engine, holder, attempt=5))
    assert take(engine, holder, attempt=5).outcome == "duplicate"
    assert take(engine, holder, attempt=6).outcome == "duplicate"
    replay = take(engine, holder, generation=1, message_id="m-2")
    assert (replay.outcome, replay.fence) == ("run", 2)
    row = found(engine)
    assert (row.state, row.attempt, row.generation, row.message_id) == ("running", 1, 1, "m-2")


def test_a_copy_from_before_a_replay_is_superseded(engine):
    holder = Holder.register(engine)
    end(engine, "dead", holder, take(engine, holder, attempt=5))
    take(engine, holder, generation=1)
    assert take(engine, holder, attempt=6).outcome == "superseded"


def test_a_copy_from_before_a_retry_is_superseded(engine):
    holder = Holder.register(engine)
    end(engine, "waiting", holder, take(engine, holder), attempt=2)
    assert take(engine, holder, attempt=1).outcome == "superseded"
    assert take(engine, holder, attempt=2).outcome == "run"


def test_other_arguments_under_the_same_key_are_a_conflict_that_names_what_was_there(engine):
    holder = Holder.register(engine)
    end(engine, "done", holder, take(engine, holder))
    other = take(engine, holder, arguments_hash="xyz", message_id="m-2")
    assert other.outcome == "conflict"
    assert (other.recorded.arguments_hash, other.recorded.message_id) == ("abc", "m-1")


def test_a_replay_may_have_other_arguments(engine):
    holder = Holder.register(engine)
    end(engine, "dead", holder, take(engine, holder))
    assert take(engine, holder, generation=1, arguments_hash="mended").outcome == "run"
    assert found(engine).arguments_hash == "mended"


def test_a_key_that_another_process_runs_is_running(engine):
    take(engine, Holder.register(engine))
    assert take(engine, Holder.register(engine)).outcome == "running"
    assert found(engine).fence == 1


def test_a_row_that_says_it_is_this_process_own_was_left_behind_and_is_taken_over(engine):
    holder = Holder.register(engine)
    take(engine, holder)
    again = take(engine, holder)
    assert (again.outcome, again.fence, again.recorded.holder) == ("run", 2, holder.id)


def test_what_was_left_behind_is_superseded_or_in_conflict_like_any_other(engine):
    holder = Holder.register(engine)
    take(engine, holder, attempt=2)
    assert take(engine, holder, attempt=1).outcome == "superseded"
    assert take(engine, holder, attempt=2, arguments_hash="xyz").outcome == "conflict"
    assert take(engine, holder, attempt=2).outcome == "run"


def test_a_new_attempt_of_a_job_that_another_process_runs_waits_for_it(engine):
    take(engine, Holder.register(engine))
    other = Holder.register(engine)
    assert take(engine, other, attempt=2).outcome == "running"
    assert take(engine, other, generation=1).outcome == "running"


def test_a_key_whose_holder_expired_is_taken_over_and_the_old_one_can_not_end_it(engine):
    old, new = Holder.register(engine), Holder.register(engine)
    first = take(engine, old)
    expire(engine, old)
    second = take(engine, new)
    assert (second.outcome, second.fence) == ("run", 2)
    for state, more in (("done", {}), ("waiting", {"attempt": 2}), ("dead", {}), ("waiting", {})):
        with pytest.raises(ClaimLost, match="fence 2"):
            end(engine, state, old, first, **more)
    end(engine, "done", new, second)
    assert found(engine).state == "done"


def test_while_the_store_is_just_back_nothing_is_taken_over_from_a_lease_that_ran_out(engine):
    old, new = Holder.register(engine), Holder.register(engine)
    take(engine, old)
    expire(engine, old)
    asked = keys.Request(**MESSAGE)
    with begin(engine) as connection:
        assert keys.claim(connection, asked, holder=new.id, cautious=True).outcome == "running"
        assert keys.claim(connection, asked, holder=new.id).outcome == "run"


def test_a_key_whose_holder_gave_up_its_lease_is_taken_over(engine):
    old = Holder.register(engine)
    take(engine, old)
    old.release()
    assert take(engine, Holder.register(engine)).outcome == "run"


def test_a_taken_over_claim_of_the_same_process_can_not_end_the_job(engine):
    holder = Holder.register(engine)
    first = take(engine, holder)
    second = take(engine, holder)
    with pytest.raises(ClaimLost):
        end(engine, "done", holder, first)
    end(engine, "done", holder, second)


def test_a_claim_from_before_a_purge_can_not_end_the_job_of_another_process(engine):
    old, new = Holder.register(engine), Holder.register(engine)
    first = take(engine, old)
    with begin(engine) as connection:
        connection.execute(delete(tables.keys))
    second = take(engine, new)
    assert first.fence == second.fence
    with pytest.raises(ClaimLost):
        end(engine, "done", old, first)
    end(engine, "done", new, second)


def test_a_job_ends_once(engine):
    holder = Holder.register(engine)
    claim = take(engine, holder)
    end(engine, "done", holder, claim)
    for state in ("done", "dead", "waiting"):
        with pytest.raises(ClaimLost, match="done"):
            end(engine, state, holder, claim)
    assert found(engine).state == "done"


def test_an_ending_is_not_repeated_once_the_job_has_started_again(engine):
    holder = Holder.register(engine)
    first = take(engine, holder)
    end(engine, "waiting", holder, first, attempt=2)
    second = take(engine, holder, attempt=2)
    for _ in range(2):
        with pytest.raises(ClaimLost):
            end(engine, "waiting", holder, first, attempt=2)
    end(engine, "waiting", holder, second, attempt=3)


def test_a_canceled_job_can_not_be_completed(engine):
    holder = Holder.register(engine)
    claim = take(engine, holder)
    set_state(engine, "canceled")
    with pytest.raises(ClaimLost, match="canceled"):
        end(engine, "done", holder, claim)


def test_a_lost_claim_is_harmless_because_completing_writes_the_row(engine):
    holder = Holder.register(engine)
    claim = take(engine, holder)
    with begin(engine) as connection:
        connection.execute(delete(tables.keys))
    end(engine, "done", holder, claim)
    assert found(engine).state == "done"
    assert take(engine, holder).outcome == "duplicate"


def test_a_row_written_without_its_claim_conflicts_with_nothing(engine):
    holder = Holder.register(engine)
    end(engine, "waiting", holder, keys.Claim("run", fence=1), attempt=2)
    assert take(engine, holder, attempt=1).outcome == "superseded"
    assert take(engine, holder, attempt=2).outcome == "run"
    assert found(engine).arguments_hash == "abc"


def test_a_released_job_runs_again_at_the_same_attempt(engine):
    holder = Holder.register(engine)
    end(engine, "waiting", holder, take(engine, holder, attempt=3))
    row = found(engine)
    assert (row.state, row.attempt, row.holder) == ("waiting", 3, None)
    assert take(engine, Holder.register(engine), attempt=3).outcome == "run"


def test_a_claim_that_was_rolled_back_left_nothing(engine):
    holder = Holder.register(engine)
    with engine.connect() as connection:
        keys.claim(connection, keys.Request(**MESSAGE), holder=holder.id)
        connection.rollback()
    assert found(engine) is None


def test_an_effect_is_rolled_back_with_a_lost_claim(engine):
    old, new = Holder.register(engine), Holder.register(engine)
    claim = take(engine, old)
    expire(engine, old)
    take(engine, new)

    def end_with_an_effect():
        with begin(engine) as connection:
            outbox.add(connection, **JOB, messages=[outbox.Outgoing("m-2", b"{}")])
            keys.end(connection, keys.Ending(**JOB, holder=old.id, fence=claim.fence, state="done"))

    with pytest.raises(ClaimLost):
        end_with_an_effect()
    with begin(engine) as connection:
        assert outbox.pending(connection, **JOB) == []


def test_the_same_key_of_another_actor_is_another_job(engine):
    holder = Holder.register(engine)
    take(engine, holder)
    assert take(engine, holder, actor="content.purge").outcome == "run"


def test_a_key_in_any_script_is_kept(engine):
    holder = Holder.register(engine)
    key = "Привет 🦜 'quoted' \\ %s :name"
    take(engine, holder, key=key)
    with begin(engine) as connection:
        assert keys.find(connection, JOB["actor"], key).key == key
        assert keys.find(connection, JOB["actor"], key.lower()) is None


def race(engine, competitors, **message):
    """What each of them was told, when all claim the same key at once."""
    start = threading.Barrier(len(competitors))

    def compete(holder):
        start.wait(timeout=10)
        return take(engine, holder, **message)

    with ThreadPoolExecutor(len(competitors)) as pool:
        return list(pool.map(compete, competitors))


def test_of_eight_racing_for_a_new_key_one_runs(engine):
    competitors = [Holder.register(engine) for _ in range(8)]
    for number in range(10):
        claims = race(engine, competitors, key=f"new {number}")
        assert sorted(claim.outcome for claim in claims) == ["run"] + ["running"] * 7


def test_of_eight_racing_for_a_dead_holders_key_one_takes_over(engine):
    gone = Holder.register(engine)
    for number in range(10):
        take(engine, gone, key=f"left {number}")
    expire(engine, gone)
    competitors = [Holder.register(engine) for _ in range(8)]
    for number in range(10):
        claims = race(engine, competitors, key=f"left {number}")
        assert sorted(claim.outcome for claim in claims) == ["run"] + ["running"] * 7
        assert [claim.fence for claim in claims if claim.outcome == "run"] == [2]


@pytest.mark.timeout(1200 if PROOF else 600)
def test_of_two_processes_racing_for_each_of_many_keys_one_has_its_effect(engine):
    command = [sys.executable, "-c", TAKE_WHAT_IS_FREE, engine.url.render_as_string(hide_password=False)]
    names = [f"k{number}" for number in range(RACES)]
    ran = []
    with ExitStack() as running:
        racers = []
        for _ in range(2):
            racer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            running.enter_context(racer)
            running.callback(racer.kill)
            racers.append(racer)
        assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 2
        # In rounds: whoever is ahead waits for the other, so that they meet at the same keys.
        for start in range(0, RACES, 20):
            for racer in racers:
                print(*names[start : start + 20], file=racer.stdin, flush=True)
            ran.append([racer.stdout.readline().split() for racer in racers])
    assert sorted(name for one, other in ran for name in one + other) == sorted(names)
    assert any(one for one, _ in ran) and any(other for _, other in ran)  # noqa: PT018  else it was no race
    with begin(engine) as connection:
        effects = connection.execute(select(tables.outbox.c.key)).scalars().all()
        states = connection.execute(select(tables.keys.c.state, tables.keys.c.fence)).all()
    assert sorted(effects) == sorted(names)
    assert set(states) == {("done", 1)}
