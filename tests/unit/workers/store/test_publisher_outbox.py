from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, text

from workers.errors import ConfigurationError, ContractError
from workers.store import publisher_outbox, tables
from workers.store.engine import begin
from workers.store.publisher_outbox import Depth, Waiting

LONG, OVER = timedelta(minutes=1), timedelta(seconds=-1)
BEFORE = datetime(2020, 1, 1, tzinfo=UTC)


def put(engine, *message_ids, **values):
    with begin(engine) as connection:
        for message_id in message_ids:
            row = {"message_id": message_id, "queue": "q", "body": "{}"} | values
            connection.execute(insert(tables.publisher_outbox).values(row))


def claim(engine, lasts=LONG, limit=10):
    with begin(engine) as connection:
        return [row.message_id for row in publisher_outbox.claim(connection, limit=limit, lasts=lasts)[1]]


def act(engine, function, *arguments):
    with begin(engine) as connection:
        return function(connection, *arguments)


def test_a_plain_insert_is_enough(engine):
    statement = "INSERT INTO dutiful_publisher_outbox (message_id, queue, body) VALUES ('m', 'q', '{}')"
    act(engine, lambda connection: connection.execute(text(statement)))

    with begin(engine) as connection:
        time, (row,) = publisher_outbox.claim(connection, limit=1, lasts=LONG)
    assert (row.message_id, row.queue, row.headers, row.delay_from(time)) == ("m", "q", None, None)


def test_rows_are_claimed_once_the_oldest_first(engine):
    put(engine, "new")
    put(engine, "old", created_at=BEFORE)

    assert act(engine, publisher_outbox.is_waiting)
    assert claim(engine, limit=1) == ["old"]
    assert claim(engine) == ["new"]
    assert claim(engine) == []
    assert not act(engine, publisher_outbox.is_waiting)


def test_a_claim_that_has_run_out_or_was_given_back_leaves_the_row_to_the_next(engine):
    put(engine, "m")

    assert claim(engine, OVER) == ["m"]
    assert claim(engine) == ["m"]
    act(engine, publisher_outbox.release, ["m"])
    assert claim(engine) == ["m"]


def test_rows_that_are_locked_by_another_relay_are_passed_over(engine):
    if engine.dialect.name == "sqlite":
        pytest.skip("it has one writer at a time")
    put(engine, "a", "b")
    with begin(engine) as first, begin(engine) as second:
        (one,) = publisher_outbox.claim(first, limit=1, lasts=LONG)[1]
        (other,) = publisher_outbox.claim(second, limit=10, lasts=LONG)[1]
    assert {one.message_id, other.message_id} == {"a", "b"}


def test_a_row_set_aside_is_kept_with_its_error_and_not_claimed(engine):
    put(engine, "bad", "good")
    act(engine, publisher_outbox.set_aside, {"bad": "no JSON\0\ud800"})

    assert claim(engine) == ["good"]
    with begin(engine) as connection:
        columns = tables.publisher_outbox.c
        assert connection.scalar(select(columns.error).where(columns.message_id == "bad")) == "no JSON?"


def test_published_rows_are_gone(engine):
    put(engine, *(f"m{number}" for number in range(1200)))
    act(engine, publisher_outbox.forget, [f"m{number}" for number in range(1, 1200)])
    act(engine, publisher_outbox.forget, [])

    assert claim(engine) == ["m0"]


def test_the_depth_tells_what_waits_since_when_and_what_never_will(engine):
    assert act(engine, publisher_outbox.depth) == Depth(0, 0.0, 0)
    put(engine, "bad", "good", created_at=datetime.now(UTC) - timedelta(hours=1))
    act(engine, publisher_outbox.set_aside, {"bad": "no JSON"})
    put(engine, "new")
    claim(engine, limit=1)

    depth = act(engine, publisher_outbox.depth)
    assert (depth.rows, depth.set_aside) == (2, 1)
    assert 3590 < depth.oldest_seconds < 3610


def waiting(delay_ms, created_at):
    return Waiting("m", "q", "{}", None, delay_ms, created_at)


def test_a_delay_counts_from_the_insert():
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    before = now - timedelta(seconds=20)

    assert waiting(30_000, before).delay_from(now) == 10_000
    assert waiting(20_000, before).delay_from(now) is None
    assert waiting(None, before).delay_from(now) is None
    # A clock of whole seconds may be a second behind; a job is never early.
    assert waiting(30_000, "2026-01-01 11:59:40").delay_from(now) == 11_000


@pytest.mark.parametrize(("delay_ms", "created_at"), [("soon", BEFORE), (1.5, BEFORE), (1, "yesterday"), (1, None)])
def test_a_delay_that_cannot_be_read_is_the_row_s_own_fault(delay_ms, created_at):
    with pytest.raises(ContractError):
        waiting(delay_ms, created_at).delay_from(BEFORE)


def test_a_body_that_is_no_text_hides_none_of_its_neighbours(engine):
    if engine.dialect.name != "sqlite":
        pytest.skip("it refuses such a body")
    put(engine, "good")
    put(engine, "bad", body=text("CAST(x'ff' AS TEXT)"))

    assert sorted(claim(engine)) == ["bad", "good"]


def test_a_service_s_own_database_gets_the_table_only_when_asked(empty_engine):
    with pytest.raises(ConfigurationError, match="dutiful outbox init"):
        act(empty_engine, publisher_outbox.require)

    act(empty_engine, publisher_outbox.create)
    act(empty_engine, publisher_outbox.create)
    act(empty_engine, publisher_outbox.require)
    put(empty_engine, "m")
    assert claim(empty_engine) == ["m"]
