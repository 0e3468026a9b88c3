"""The store's keys agree with a plain dict through any order of claims, endings, deaths and jumps of the clock."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import delete, event, update

from workers.errors import ClaimLost
from workers.store import batches, keys, tables
from workers.store.engine import begin, create_store_engine
from workers.store.holders import LEASE, Holder
from workers.store.migrate import migrate
from workers.testing import Clock

PROCESSES = st.sampled_from([0, 1, 2])
KEYS = st.sampled_from(["k1", "k2"])
REQUESTS = st.builds(
    keys.Request,
    actor=st.just("a"),
    key=KEYS,
    message_id=st.sampled_from(["m", "m", "n"]),
    arguments_hash=st.sampled_from(["x", "x", "y"]),
    attempt=st.integers(1, 3),
    generation=st.integers(0, 2),
)
ENDED_BY_PEOPLE = st.sampled_from(["discarded", "canceled"])


class Jobs(RuleBasedStateMachine):
    """Three processes and two keys. `rows` is what the store should hold, `leases` until when each process lives."""

    engine = None
    clock = None

    def __init__(self):
        super().__init__()
        with begin(self.engine) as connection:
            connection.execute(delete(tables.keys))
            connection.execute(delete(tables.holders))
        self.rows = {}
        self.leases = {}
        self.held = []
        self.ended = []
        self.processes = [self.born() for _ in range(3)]

    def born(self):
        holder = Holder.register(self.engine)
        self.leases[holder.id] = self.clock.time + LEASE
        return holder

    def told(self, request, holder):
        """What the rules of the design say about a message."""
        row = self.rows.get(request.key)
        if row is None:
            return "run"
        same_generation = request.generation == row["generation"]
        if request.generation < row["generation"] or (same_generation and request.attempt < row["attempt"]):
            return "superseded"
        if same_generation and row["arguments_hash"] not in {None, request.arguments_hash}:
            return "conflict"
        if row["state"] == "dead":
            return "duplicate" if same_generation else "run"
        if row["state"] == "running":
            is_anothers = row["holder"] != holder and self.leases.get(row["holder"], self.clock.time) > self.clock.time
            return "running" if is_anothers else "run"
        return "run" if row["state"] == "waiting" else "duplicate"

    def claimed(self, request, holder, claim, *, together):
        """Compare what a message was told, and note what the row says now."""
        assert claim.outcome == self.told(request, holder)
        row, asked = self.rows.get(request.key), request.row(holder)
        # In a batch, what this very message left behind can't be told from a row that is new.
        is_new = row is None or (together and row == asked | {"fence": 1})
        assert (claim.recorded is None) == is_new
        if claim.outcome == "run":
            assert claim.fence == (1 if is_new else row["fence"] + 1)
            self.rows[request.key] = asked | {"fence": claim.fence}
            self.held.append((request.key, holder, claim.fence))

    @rule(process=PROCESSES, request=REQUESTS)
    def claim(self, process, request):
        holder = self.processes[process].id
        with begin(self.engine) as connection:
            claim = keys.claim(connection, request, holder=holder)
        self.claimed(request, holder, claim, together=False)

    @rule(process=PROCESSES, requests=st.lists(REQUESTS, min_size=1, max_size=2, unique_by=lambda each: each.key))
    def claim_together(self, process, requests):
        holder = self.processes[process].id
        with begin(self.engine) as connection:
            claims = batches.claim(connection, requests, holder=holder)
        for request, claim in zip(requests, claims, strict=True):
            self.claimed(request, holder, claim, together=True)

    def is_held(self, ending):
        row = self.rows.get(ending.key)
        return row is not None and (row["state"], row["holder"], row["fence"]) == (
            "running",
            ending.holder,
            ending.fence,
        )

    def record(self, ending, *, again=False):
        """Whether the ending counts, by the rules; if so, note it."""
        row = self.rows.get(ending.key)
        if row is not None and not self.is_held(ending):
            return again and (row["state"], row["holder"], row["fence"]) == (ending.state, None, ending.fence)
        unknown = {"attempt": 0, "generation": 0, "arguments_hash": None, "message_id": None, "fence": ending.fence}
        spent = {} if ending.attempt is None else {"attempt": ending.attempt}
        self.rows[ending.key] = (row or unknown) | {"state": ending.state, "holder": None} | spent
        return True

    def draw_ending(self, data):
        """How one of the claims ends that were given, whether it still holds or not."""
        claim = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        state = data.draw(st.sampled_from(["done", "dead", "waiting", "waiting"]))
        ending = keys.Ending("a", *claim, state, data.draw(st.sampled_from([None, 2, 3])))
        self.ended.append(ending)
        return ending

    def end_alone(self, ending):
        try:
            with begin(self.engine) as connection:
                keys.end(connection, ending)
        except ClaimLost:
            assert not self.record(ending)
        else:
            assert self.record(ending)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def end(self, data):
        self.end_alone(self.draw_ending(data))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), count=st.integers(1, 3))
    def end_together(self, data, count):
        """As the thread does that records endings: all, else one by one."""
        endings = [self.draw_ending(data) for _ in range(min(count, len(self.held)))]
        if len({each.key for each in endings}) < len(endings):
            endings = endings[:1]  # one process runs a key once
        with begin(self.engine) as connection:
            were_held = batches.end(connection, endings)
            if not were_held:
                connection.get_transaction().rollback()
        assert were_held == all(self.is_held(each) for each in endings)
        if were_held:
            assert all(self.record(each) for each in endings)
            return
        with begin(self.engine) as connection:
            lost = batches.end_each(connection, endings)
        assert [error is None for error in lost] == [self.record(each, again=True) for each in endings]

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def an_ending_is_repeated_because_its_answer_was_lost(self, data):
        ending = data.draw(st.sampled_from(self.ended[-3:]))
        with begin(self.engine) as connection:
            (lost,) = batches.end_each(connection, [ending])
        assert (lost is None) == self.record(ending, again=True)

    @rule(process=PROCESSES, released=st.booleans())
    def die(self, process, released):
        """A process is gone, with or without giving up its lease; another one starts in its place."""
        gone = self.processes[process]
        if released:
            gone.release()
            del self.leases[gone.id]
        else:
            self.leases[gone.id] = self.clock.time - timedelta(seconds=1)
            with begin(self.engine) as connection:
                expired = update(tables.holders).where(tables.holders.c.id == gone.id)
                connection.execute(expired.values(expires_at=self.leases[gone.id]))
        self.processes[process] = self.born()

    @rule(process=PROCESSES)
    def beat(self, process):
        self.processes[process].beat()
        self.leases[self.processes[process].id] = self.clock.time + LEASE

    @rule(seconds=st.sampled_from([-3600, -19, 5, 19, 20, 21, 3600]))
    def the_clock_jumps(self, seconds):
        self.clock.advance(timedelta(seconds=seconds))

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
        names = ("state", "arguments_hash", "message_id", "attempt", "generation", "holder", "fence")
        assert {
            key: {name: getattr(row, name) for name in names} for key, row in found.items() if row is not None
        } == self.rows


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def engine(tmp_path, clock):
    """A store whose clock is moved by hand. It need not survive a power cut, and that makes it quick."""
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db", clock=clock.now)
    event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA synchronous = OFF"))
    migrate(engine, package=None)
    yield engine
    engine.dispose()


@pytest.mark.timeout(600)
def test_keys_agree_with_a_plain_dict_through_any_history(engine, clock):
    class OnThisStore(Jobs):
        pass

    OnThisStore.engine, OnThisStore.clock = engine, clock
    run_state_machine_as_test(
        OnThisStore,
        settings=settings(
            max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
