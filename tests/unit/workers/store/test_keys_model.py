"""The store's keys agree with a plain dict through any order of claims, endings and deaths."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import delete, update

from workers.errors import ClaimLost
from workers.store import keys, tables
from workers.store.engine import begin, moment
from workers.store.holders import Holder

PROCESSES = st.sampled_from([0, 1, 2])
KEYS = st.sampled_from(["k1", "k2"])
ENDED_BY_PEOPLE = st.sampled_from(["discarded", "canceled"])


class Jobs(RuleBasedStateMachine):
    """Three processes and two keys; `rows` is what the store should hold, `effects` counts jobs that ended as done."""

    engine = None

    def __init__(self):
        super().__init__()
        with begin(self.engine) as connection:
            connection.execute(delete(tables.keys))
            connection.execute(delete(tables.holders))
        self.processes = [Holder.register(self.engine) for _ in range(3)]
        self.rows = {}
        self.held = []

    def told(self, *, key, attempt, generation, arguments, process, still_mine):
        """What the rules of the design say about a message."""
        row = self.rows.get(key)
        if row is None:
            return "run"
        living = {holder.id for holder in self.processes}
        if generation < row["generation"] or (generation == row["generation"] and attempt < row["attempt"]):
            return "superseded"
        same_generation = generation == row["generation"]
        if same_generation and row["arguments"] and row["arguments"] != arguments:
            return "conflict"
        if row["state"] == "dead":
            return "duplicate" if same_generation else "run"
        if row["state"] == "running":
            is_mine = row["holder"] == self.processes[process].id
            return "running" if (still_mine if is_mine else row["holder"] in living) else "run"
        return "run" if row["state"] == "waiting" else "duplicate"

    @rule(
        key=KEYS,
        attempt=st.integers(1, 3),
        generation=st.integers(0, 2),
        arguments=st.sampled_from(["x", "x", "y"]),
        process=PROCESSES,
        still_mine=st.booleans(),
    )
    def claim(self, *, key, attempt, generation, arguments, process, still_mine):
        expected = self.told(
            key=key,
            attempt=attempt,
            generation=generation,
            arguments=arguments,
            process=process,
            still_mine=still_mine,
        )
        holder = self.processes[process].id
        with begin(self.engine) as connection:
            claim = keys.claim(
                connection,
                actor="a",
                key=key,
                message_id="m",
                arguments_hash=arguments,
                attempt=attempt,
                generation=generation,
                holder=holder,
                mine=lambda _actor, _key: still_mine,
            )
        assert claim.outcome == expected
        if expected == "run":
            fence = self.rows[key]["fence"] + 1 if key in self.rows else 1
            assert claim.fence == fence
            self.rows[key] = {
                "state": "running",
                "attempt": attempt,
                "generation": generation,
                "arguments": arguments,
                "holder": holder,
                "fence": fence,
            }
            self.held.append((key, holder, fence))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["complete", "wait", "bury", "release"]), attempt=st.integers(1, 3))
    def end(self, data, how, attempt):
        key, holder, fence = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        row = self.rows.get(key)
        state = {"complete": "done", "wait": "waiting", "bury": "dead", "release": "waiting"}[how]
        more = {"attempt": attempt} if how == "wait" else {}
        lost = row is not None and (row["state"], row["holder"], row["fence"]) != ("running", holder, fence)
        try:
            with begin(self.engine) as connection:
                getattr(keys, how)(connection, actor="a", key=key, holder=holder, fence=fence, **more)
        except ClaimLost:
            assert lost
            return
        assert not lost
        unknown = {"attempt": 0, "generation": 0, "arguments": None, "fence": fence}
        self.rows[key] = (row or unknown) | {"state": state, "holder": None} | more

    @rule(process=PROCESSES, released=st.booleans())
    def die(self, process, released):
        """A process is gone, with or without giving up its lease; another one starts in its place."""
        gone = self.processes[process]
        if released:
            gone.release()
        else:
            with begin(self.engine) as connection:
                past = moment(connection) - timedelta(seconds=1)
                connection.execute(update(tables.holders).where(tables.holders.c.id == gone.id).values(expires_at=past))
        self.processes[process] = Holder.register(self.engine)

    @precondition(lambda self: self.rows)
    @rule(key=KEYS, state=ENDED_BY_PEOPLE)
    def is_ended_by_a_person(self, key, state):
        with begin(self.engine) as connection:
            connection.execute(update(tables.keys).where(tables.keys.c.key == key).values(state=state, holder=None))
        if key in self.rows:
            self.rows[key] |= {"state": state, "holder": None}

    @rule(key=KEYS)
    def is_purged(self, key):
        with begin(self.engine) as connection:
            connection.execute(delete(tables.keys).where(tables.keys.c.key == key))
        self.rows.pop(key, None)

    @invariant()
    def the_store_holds_what_the_dict_holds(self):
        with begin(self.engine) as connection:
            found = {key: keys.find(connection, "a", key) for key in ("k1", "k2")}
        assert {
            key: {
                "state": row.state,
                "attempt": row.attempt,
                "generation": row.generation,
                "arguments": row.arguments_hash,
                "holder": row.holder,
                "fence": row.fence,
            }
            for key, row in found.items()
            if row is not None
        } == self.rows


@pytest.mark.timeout(60)
def test_keys_agree_with_a_plain_dict_through_any_history(engine):
    class OnThisStore(Jobs):
        pass

    OnThisStore.engine = engine
    run_state_machine_as_test(
        OnThisStore,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
