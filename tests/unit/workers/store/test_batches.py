import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert, select

from workers.errors import ClaimLost
from workers.store import batches, keys, tables
from workers.store.engine import begin
from workers.store.holders import Holder
from workers.store.keys import Claim, Ending, Request

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
HOLDERS = ("own", "living", "expired", "gone")
# Their order by code point is not the alphabet's.
NAMES = ["k1", "K2", "ä", "k10", "_", "Я 'quoted' %s :of"]
THREADS_SECONDS = 30

requests = st.builds(
    Request,
    actor=st.just("a"),
    key=st.sampled_from(NAMES),
    message_id=st.sampled_from(["m", "m", "n"]),
    arguments_hash=st.sampled_from(["x", "x", "y"]),
    attempt=st.integers(1, 2),
    generation=st.integers(0, 1),
)
running = {"state": st.just("running"), "holder": st.sampled_from([*HOLDERS, None])}
ended = {"state": st.sampled_from(["waiting", "done", "dead", "discarded", "canceled"]), "holder": st.none()}
of_a_message = {
    "actor": st.just("a"),
    "key": st.sampled_from(NAMES),
    "message_id": st.sampled_from(["m", "m", "n"]),
    "arguments_hash": st.sampled_from(["x", "x", "y", None]),
    "attempt": st.integers(0, 2),
    "generation": st.integers(0, 1),
    "fence": st.integers(1, 2),
    "created_at": st.just(LONG_AGO),
    "updated_at": st.just(LONG_AGO),
}
rows = st.lists(
    st.fixed_dictionaries(of_a_message | running) | st.fixed_dictionaries(of_a_message | ended),
    max_size=len(NAMES),
    unique_by=lambda row: row["key"],
)
endings = st.builds(
    Ending,
    actor=st.just("a"),
    key=st.sampled_from(NAMES),
    holder=st.sampled_from(["own", "own", "own", "living"]),
    fence=st.sampled_from([1, 1, 2]),
    state=st.sampled_from(["waiting", "done", "dead"]),
    attempt=st.sampled_from([None, None, 1, 3]),
)
many_examples = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@contextmanager
def store_with(engine, rows):
    """A transaction that sees these rows, and leaves nothing."""
    with engine.connect() as connection:
        living = {"host": "elsewhere", "pid": 1, "pid_started": "", "beat_at": LONG_AGO}
        day = timedelta(days=1)
        now = datetime.now(UTC)
        leases = [("own", now + day), ("living", now + day), ("expired", now - day)]
        connection.execute(insert(tables.holders).values(living), [{"id": id_, "expires_at": at} for id_, at in leases])
        if rows:
            connection.execute(insert(tables.keys), rows)
        yield connection
        connection.rollback()


def tried(connection, attempt):
    """What it gave, and the rows after it, each by its key; then everything is as it was."""
    savepoint = connection.begin_nested()
    given = attempt()
    after = [dict(row) for row in connection.execute(select(tables.keys)).mappings()]
    savepoint.rollback()
    for row in after:
        row["is_older"] = row.pop("updated_at") == LONG_AGO
        row["created_at"] = row["created_at"] == LONG_AGO
    return given, {row["key"]: row for row in after}


def is_left_by_the_same_message(row, request):
    return all(row[name] == value for name, value in (request.row("own") | {"fence": 1}).items())


@many_examples
@given(rows=rows, requests=st.lists(requests, min_size=1, max_size=len(NAMES), unique_by=lambda each: each.key))
def test_each_of_a_batch_is_told_what_it_would_have_been_told_alone(engine, rows, requests):
    with store_with(engine, rows) as connection:
        together, after = tried(connection, lambda: batches.claim(connection, requests, holder="own"))
        alone, expected = tried(connection, lambda: [keys.claim(connection, each, holder="own") for each in requests])
    before = {row["key"]: row for row in rows}
    for number, request in enumerate(requests):
        row = before.get(request.key)
        if row and is_left_by_the_same_message(row, request):
            # It can't be told from a row that the batch has written itself, and is worth the same: it keeps its fence.
            assert (alone[number].outcome, alone[number].fence) == ("run", 2)
            alone[number] = Claim("run", fence=1)
            expected[request.key] |= {"fence": 1, "is_older": True}
    assert together == alone
    assert after == expected


@many_examples
@given(rows=rows, endings=st.lists(endings, min_size=1, max_size=len(NAMES), unique_by=lambda each: each.key))
def test_endings_one_by_one_record_and_tell_what_each_would_have_alone(engine, rows, endings):
    def alone(connection):
        for ending in endings:
            try:
                with connection.begin_nested():
                    keys.end(connection, ending)
                yield None
            except ClaimLost as error:
                row = keys.find(connection, ending.actor, ending.key)
                # What stands there already is recorded: the answer to its commit was lost.
                stands = row is not None and (row.state, row.holder, row.fence) == (ending.state, None, ending.fence)
                yield None if stands else str(error)

    with store_with(engine, rows) as connection:
        together, after = tried(connection, lambda: batches.end_each(connection, endings))
        expected, rows_expected = tried(connection, lambda: list(alone(connection)))
    assert [error and str(error) for error in together] == expected
    assert after == rows_expected


@many_examples
@given(
    rows=rows,
    endings=st.lists(endings, min_size=1, max_size=len(NAMES), unique_by=lambda each: each.key),
    are_held=st.booleans(),
)
def test_a_batch_of_endings_is_recorded_as_each_alone_if_all_claims_are_held(engine, rows, endings, are_held):
    if are_held:
        there = {each.key for each in endings}
        common = {"actor": "a", "message_id": "m", "arguments_hash": "x", "attempt": 2, "generation": 1}
        rows = [row for row in rows if row["key"] not in there] + [
            common
            | {"key": each.key, "state": "running", "holder": each.holder, "fence": each.fence}
            | {"created_at": LONG_AGO, "updated_at": LONG_AGO}
            for each in endings
        ]
    claims = {(row["key"], row["holder"], row["fence"]) for row in rows if row["state"] == "running"}
    with store_with(engine, rows) as connection:
        were_held, after = tried(connection, lambda: batches.end(connection, endings))
        _, expected = tried(connection, lambda: batches.end_each(connection, endings))
    assert were_held == all((each.key, each.holder, each.fence) in claims for each in endings)
    if were_held:
        assert after == expected


def ask(*names, **changes):
    message = {"message_id": "m", "arguments_hash": "x", "attempt": 1, "generation": 0} | changes
    return [Request("a", name, **message) for name in names]


def take(engine, holder, requests):
    with begin(engine) as connection:
        return batches.claim(connection, requests, holder=holder.id)


def end(engine, endings):
    """As the thread does that records them: all, or none."""
    with begin(engine) as connection:
        were_held = batches.end(connection, endings)
        if not were_held:
            connection.get_transaction().rollback()
    return were_held


def end_each(engine, endings):
    with begin(engine) as connection:
        return batches.end_each(connection, endings)


def states(engine):
    with begin(engine) as connection:
        return dict(connection.execute(select(tables.keys.c.key, tables.keys.c.state)).all())


def statements(engine, act):
    seen = []

    def note(_connection, _cursor, statement, *_):
        seen.append(statement.split()[0])

    event.listen(engine, "before_cursor_execute", note)
    act()
    event.remove(engine, "before_cursor_execute", note)
    return [word for word in seen if word not in {"BEGIN", "COMMIT", "PRAGMA"}]


def test_new_keys_cost_one_statement_and_known_ones_one_more(engine):
    holder = Holder.register(engine)
    names = [f"k{number}" for number in range(200)]
    assert statements(engine, lambda: take(engine, holder, ask(*names))) == ["INSERT"]
    assert end(engine, [Ending("a", name, holder.id, 1, "done") for name in names])
    assert statements(engine, lambda: take(engine, holder, ask(*names, "new"))) == ["INSERT", "SELECT"]


def test_claims_come_back_in_the_order_of_their_messages(engine):
    holder = Holder.register(engine)
    take(engine, holder, ask("b"))
    end(engine, [Ending("a", "b", holder.id, 1, "done")])
    assert [claim.outcome for claim in take(engine, holder, ask("c", "b", "a"))] == ["run", "duplicate", "run"]


def test_the_same_key_of_two_actors_is_two_jobs(engine):
    holder = Holder.register(engine)
    both = [Request(actor, "k", "m", "x", 1, 0) for actor in ("b", "a")]
    assert take(engine, holder, both) == [Claim("run", fence=1)] * 2
    assert end(engine, [Ending("a", "k", holder.id, 1, "done"), Ending("b", "k", holder.id, 1, "dead")])
    with begin(engine) as connection:
        assert [keys.find(connection, actor, "k").state for actor in ("a", "b")] == ["done", "dead"]


def test_a_row_that_the_same_message_left_behind_can_be_ended_by_its_new_claim(engine):
    holder = Holder.register(engine)
    take(engine, holder, ask("k"))
    [claim] = take(engine, holder, ask("k"))
    assert claim == Claim("run", fence=1)
    assert end(engine, [Ending("a", "k", holder.id, claim.fence, "done")])


def test_a_row_left_behind_by_a_later_claim_gets_the_next_fence(engine):
    holder = Holder.register(engine)
    take(engine, holder, ask("k"))
    with begin(engine) as connection:
        assert keys.claim(connection, *ask("k"), holder=holder.id).fence == 2
    [claim] = take(engine, holder, ask("k"))
    assert (claim.outcome, claim.fence) == ("run", 3)


def test_endings_are_recorded_all_or_none(engine):
    old, new = Holder.register(engine), Holder.register(engine)
    take(engine, old, ask("k1", "k2", "k3"))
    old.release()
    take(engine, new, ask("k2"))
    endings = [
        Ending("a", "k1", old.id, 1, "done"),
        Ending("a", "k2", old.id, 1, "waiting", 2),
        Ending("a", "k3", old.id, 1, "dead"),
    ]
    assert not end(engine, endings)
    assert set(states(engine).values()) == {"running"}
    lost = end_each(engine, endings)
    assert [lost[0], lost[2]] == [None, None]
    assert isinstance(lost[1], ClaimLost)
    assert new.id in str(lost[1])
    assert states(engine) == {"k1": "done", "k2": "running", "k3": "dead"}


def test_endings_whose_answer_was_lost_are_accepted_one_by_one(engine):
    holder = Holder.register(engine)
    take(engine, holder, ask("k1", "k2"))
    endings = [Ending("a", "k1", holder.id, 1, "done"), Ending("a", "k2", holder.id, 1, "waiting", 2)]
    assert end(engine, endings)
    assert not end(engine, endings)
    assert end_each(engine, endings) == [None, None]
    assert states(engine) == {"k1": "done", "k2": "waiting"}


def test_an_ending_whose_row_is_gone_is_written_one_by_one(engine):
    ending = Ending("a", "k", "gone", 1, "done")
    assert not end(engine, [ending])
    assert states(engine) == {}
    assert end_each(engine, [ending]) == [None]
    assert states(engine) == {"k": "done"}


def at_once(*acts):
    """What each gave; they run in threads that start together."""
    start = threading.Barrier(len(acts))

    def run(act):
        start.wait(timeout=10)
        return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [each.result(timeout=THREADS_SECONDS) for each in [pool.submit(run, act) for act in acts]]


def some(dice, names):
    """Most of them, in any order."""
    return dice.sample(names, len(names) * 3 // 4)


def test_of_racing_batches_each_key_has_one_winner_and_no_two_wait_for_each_other(engine):
    dice = random.Random(1)
    gone = Holder.register(engine)
    competitors = [Holder.register(engine) for _ in range(3)]
    for number in range(10):
        names = [f"{number} {name} {more}" for name in NAMES for more in range(6)]
        take(engine, gone, ask(*names[::2]))
        if number == 0:
            gone.release()
        asked = [some(dice, names) for _ in competitors]
        told = at_once(
            *(
                lambda holder=holder, wanted=wanted: take(engine, holder, ask(*wanted))
                for holder, wanted in zip(competitors, asked, strict=True)
            )
        )
        outcomes = {}
        for wanted, claims in zip(asked, told, strict=True):
            for name, claim in zip(wanted, claims, strict=True):
                outcomes.setdefault(name, []).append(claim.outcome)
        for name, found in outcomes.items():
            assert sorted(found) == ["run"] + ["running"] * (len(found) - 1), name


def test_endings_and_claims_of_the_same_keys_do_not_wait_for_each_other(engine):
    dice = random.Random(2)
    holder, other = Holder.register(engine), Holder.register(engine)
    for number in range(15):
        names = [f"{number} {name} {more}" for name in NAMES for more in range(6)]
        take(engine, holder, ask(*names))
        endings = [
            Ending("a", name, holder.id, 1, dice.choice(["done", "dead", "waiting"]), dice.choice([None, 2]))
            for name in dice.sample(names, len(names))
        ]
        ending = end if number % 2 else end_each
        told, found = at_once(
            lambda endings=endings, ending=ending: ending(engine, endings),
            lambda names=names: take(engine, other, ask(*some(dice, names))),
        )
        assert told is True or set(told) == {None}
        assert {claim.outcome for claim in found} <= {"run", "running", "duplicate", "superseded"}


def test_a_claim_waits_for_a_batch_that_is_not_committed_yet(engine):
    holder, other = Holder.register(engine), Holder.register(engine)
    with begin(engine) as connection:
        batches.claim(connection, ask("k1", "k2"), holder=holder.id)
        waiting = threading.Thread(target=lambda: told.extend(take(engine, other, ask("k2", "k3"))))
        told = []
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join(THREADS_SECONDS)
    assert [claim.outcome for claim in told] == ["running", "run"]


def test_a_batch_that_was_rolled_back_left_nothing(engine):
    with engine.connect() as connection:
        batches.claim(connection, ask("k1", "k2"), holder="h")
        connection.rollback()
    assert states(engine) == {}
