from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError, StatementError

from workers.errors import ConfigurationError
from workers.store import tables
from workers.store.engine import begin, create_store_engine, insert_unless_there, is_outage, now, read_only

SCHEDULE = {"name": "nightly", "spec": "0 3 * * *", "first_seen_at": datetime(2026, 1, 1, tzinfo=UTC)}


def rows(engine):
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(tables.schedules)).scalar_one()


def test_a_time_comes_back_as_the_same_moment_in_utc(engine):
    moscow = datetime(2026, 10, 25, 3, 30, 0, 123456, tzinfo=timezone(timedelta(hours=3)))
    with begin(engine) as connection:
        connection.execute(insert(tables.schedules).values(SCHEDULE | {"first_seen_at": moscow}))
        read = connection.execute(select(tables.schedules.c.first_seen_at)).scalar_one()
    assert read == moscow
    assert read.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_refused(engine):
    naive = datetime(2026, 10, 25)  # noqa: DTZ001  it is what is refused
    with pytest.raises(StatementError, match="has a time zone"), begin(engine) as connection:
        connection.execute(insert(tables.schedules).values(SCHEDULE | {"first_seen_at": naive}))


def test_the_stores_clock_goes_on_inside_a_transaction(engine):
    with begin(engine) as connection:
        first, second = now(connection), now(connection)
    assert first < second
    assert first.utcoffset() == timedelta(0)
    assert abs(first - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_row_that_is_there_is_not_inserted_again(engine):
    with begin(engine) as connection:
        assert insert_unless_there(connection, tables.schedules, SCHEDULE)
        assert not insert_unless_there(connection, tables.schedules, SCHEDULE | {"spec": "other"})
        assert connection.scalar(select(tables.schedules.c.spec)) == SCHEDULE["spec"]


def test_an_error_in_the_block_rolls_it_back_and_passes_through(engine):
    def fail_halfway():
        with begin(engine) as connection:
            connection.execute(insert(tables.schedules).values(SCHEDULE))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert rows(engine) == 0


def test_what_the_block_wrote_is_there_afterwards(engine):
    with begin(engine) as connection:
        connection.execute(insert(tables.schedules).values(SCHEDULE))
    assert rows(engine) == 1


def test_a_missing_table_is_no_outage(engine):
    with pytest.raises(DBAPIError) as caught, engine.connect() as connection:
        connection.execute(text("SELECT * FROM no_such_table"))
    assert not is_outage(caught.value)


def test_a_broken_constraint_is_no_outage(engine):
    with begin(engine) as connection:
        connection.execute(insert(tables.schedules).values(SCHEDULE))
    with pytest.raises(DBAPIError) as caught, begin(engine) as connection:
        connection.execute(insert(tables.schedules).values(SCHEDULE))
    assert not is_outage(caught.value)


def test_arguments_of_jobs_are_not_in_database_errors(engine):
    with pytest.raises(DBAPIError) as caught, engine.connect() as connection:
        connection.execute(text("SELECT * FROM no_such_table WHERE secret = :secret"), {"secret": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_reader_does_not_wait_for_a_writer(engine):
    with begin(engine) as writer, read_only(engine).connect() as reader:
        writer.execute(insert(tables.schedules).values(SCHEDULE))
        assert reader.execute(select(func.count()).select_from(tables.schedules)).scalar_one() == 0


@pytest.mark.parametrize("url", ["mysql://127.0.0.1/x", "postgresql+psycopg2://127.0.0.1/x", "nonsense", ""])
def test_an_address_of_something_else_is_refused(url):
    with pytest.raises(ConfigurationError, match="postgresql\\+psycopg://"):
        create_store_engine(url)
