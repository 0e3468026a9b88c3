from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from workers.store import requests, tables
from workers.store.engine import begin, create_store_engine
from workers.store.migrate import migrate
from workers.store.purge import purge
from workers.store.requests import Claim, Request

LEASE = timedelta(seconds=15)
REQUEST = Request("shop", "order-1", "f1", "m1", "content.import_feed", "m1")


class Clock:
    def __init__(self):
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def engine(tmp_path, clock):
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db", clock=clock)
    migrate(engine, package=None)
    yield engine
    engine.dispose()


def claim(engine, request=REQUEST):
    with begin(engine) as connection:
        return requests.claim(connection, request, lease=LEASE)


def test_the_first_publishes_and_those_beside_it_wait(engine):
    assert claim(engine) == Claim("publish")
    assert claim(engine) == Claim("running", wait_seconds=15.0)


def test_a_repetition_gets_the_answer_of_the_first(engine):
    claim(engine)
    with begin(engine) as connection:
        requests.answer(connection, REQUEST, '{"id": "m1"}')

    assert claim(engine) == Claim("answered", answer='{"id": "m1"}')


def test_other_arguments_under_the_same_key_are_told_apart_at_any_time(engine):
    other = REQUEST._replace(fingerprint="f2", message_id="m2")
    claim(engine)
    assert claim(engine, other) == Claim("other")
    with begin(engine) as connection:
        requests.answer(connection, REQUEST, "{}")
    assert claim(engine, other) == Claim("other")


def test_another_token_has_keys_of_its_own(engine):
    claim(engine)

    assert claim(engine, REQUEST._replace(token="mail")) == Claim("publish")


def test_what_was_released_or_left_behind_is_published_by_the_next_one_only(engine, clock):
    claim(engine)
    with begin(engine) as connection:
        requests.release(connection, REQUEST)
    assert claim(engine) == Claim("publish")

    clock.time += timedelta(seconds=5)
    assert claim(engine) == Claim("running", wait_seconds=10.0)
    clock.time += timedelta(seconds=10)
    assert [claim(engine).outcome for _ in range(2)] == ["publish", "running"]


def test_an_answer_is_not_taken_back_by_a_late_release(engine):
    claim(engine)
    with begin(engine) as connection:
        requests.answer(connection, REQUEST, "{}")
        requests.release(connection, REQUEST)

    assert claim(engine).outcome == "answered"


def test_a_message_is_found_by_its_id_once_it_is_confirmed(engine, clock):
    claim(engine)
    with begin(engine) as connection:
        assert requests.accepted(connection, "m1") is None
        requests.answer(connection, REQUEST, "{}")
        assert requests.accepted(connection, "m1") == ("content.import_feed", "m1", clock.time)


def test_requests_are_purged_when_they_are_as_old_as_ended_keys_may_be(engine, clock):
    claim(engine)
    clock.time += timedelta(days=6)
    claim(engine, REQUEST._replace(idempotency_key="order-2"))
    clock.time += timedelta(days=1, seconds=1)

    assert purge(engine, key_ttl=timedelta(days=7))["requests"] == 1

    with begin(engine) as connection:
        assert connection.scalars(select(tables.requests.c.idempotency_key)).all() == ["order-2"]
