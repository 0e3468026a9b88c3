"""outbox.add and outbox.read: a message goes into a row and comes out as it was."""

from datetime import timedelta

import pytest
from dramatiq.brokers.stub import StubBroker
from sqlalchemy import create_engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from workers import actor, outbox
from workers.errors import ContractError
from workers.store import publisher_outbox, tables
from workers.store.publisher_outbox import Waiting

CARD = {"queue_name": "shop", "owner": "tests", "expects": "nothing", "rollback": "none"}


@actor(**CARD, broker=StubBroker(middleware=[]))
def sell(name: str) -> None:
    """Never run here."""


@pytest.fixture
def engine(tmp_path):
    """A service's own: SQLAlchemy's, without anything of ours."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    with engine.begin() as connection:
        publisher_outbox.create(connection)
    yield engine
    engine.dispose()


def rows(engine):
    with engine.connect() as connection:
        columns = tables.publisher_outbox.c
        found = select(columns.message_id, columns.queue, columns.body, columns.headers, columns.delay_ms)
        return [Waiting(*row, created_at=None) for row in connection.execute(found)]


def test_a_message_comes_out_as_it_went_in(engine):
    message = sell.message_with_options(kwargs={"name": "für Zoë \U0001f600"}, key="mine")
    with engine.begin() as connection:
        outbox.add(connection, message)

    (row,) = rows(engine)
    assert outbox.read(row) == message
    assert row.delay_ms is None


@pytest.mark.parametrize("delay", [timedelta(minutes=1), 60_000])
def test_a_delay_is_a_timedelta_or_milliseconds(engine, delay):
    with engine.begin() as connection:
        outbox.add(connection, sell.message("a"), delay)

    assert [row.delay_ms for row in rows(engine)] == [60_000]


def test_what_is_rolled_back_was_never_there(engine):
    with engine.connect() as connection:
        outbox.add(connection, sell.message("a"))
        connection.rollback()

    assert rows(engine) == []


def test_a_session_sends_by_its_connection(engine):
    with Session(engine) as session:
        outbox.add(session.connection(), sell.message("a"))
        session.commit()

    assert len(rows(engine)) == 1


def test_the_same_id_twice_is_refused_where_it_is_added(engine):
    message = sell.message("a")
    with engine.connect() as connection:
        outbox.add(connection, message)
        with pytest.raises(IntegrityError):
            outbox.add(connection, message)


@pytest.mark.parametrize("headers", ["{", "[]", '"text"', "[" * 100_000])
def test_headers_that_are_no_object_are_the_row_s_own_fault(headers):
    body = sell.message("a").encode()
    with pytest.raises(ContractError, match="JSON object"):
        outbox.read(Waiting("m", "shop", body, headers, None, None))
