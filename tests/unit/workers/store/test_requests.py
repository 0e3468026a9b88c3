from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from workers.store import requests, tables
from workers.store.engine import begin
from workers.store.purge import purge
from workers.store.requests import Claim, Request

LEASE = timedelta(seconds=15)
ASKED = Request("shop", "order-1", "f1", "m1", "content.import_feed", "m1")


def claim_request(engine, request=ASKED, lease=LEASE):
    with begin(engine) as connection:
        return requests.claim(connection, request, lease=lease)


def answer_request(engine, said):
    with begin(engine) as connection:
        requests.answer(connection, ASKED, said)


def test_the_first_publishes_and_those_beside_it_wait(engine):
    assert claim_request(engine) == Claim("publish")

    beside = claim_request(engine)

    assert beside.outcome == "running"
    assert 10 < beside.wait_seconds <= 15


def test_a_repetition_gets_the_answer_of_the_first(engine):
    claim_request(engine)
    answer_request(engine, '{"id": "m1"}')

    assert claim_request(engine) == Claim("answered", answer='{"id": "m1"}')


def test_other_arguments_under_the_same_key_are_told_apart_at_any_time(engine):
    other = ASKED._replace(fingerprint="f2", message_id="m2")
    claim_request(engine)
    assert claim_request(engine, other) == Claim("other")
    answer_request(engine, "{}")
    assert claim_request(engine, other) == Claim("other")


def test_another_token_has_keys_of_its_own(engine):
    claim_request(engine)

    assert claim_request(engine, ASKED._replace(token="mail")) == Claim("publish")


def test_what_was_released_is_published_by_the_next_one_only(engine):
    claim_request(engine)
    with begin(engine) as connection:
        requests.release(connection, ASKED)

    assert [claim_request(engine).outcome for _ in range(2)] == ["publish", "running"]


def test_what_a_gateway_left_behind_is_published_by_the_next_one_when_its_time_is_over(engine):
    claim_request(engine, lease=timedelta(0))

    assert [claim_request(engine).outcome for _ in range(2)] == ["publish", "running"]


def test_an_answer_is_not_taken_back_by_a_late_release(engine):
    claim_request(engine)
    answer_request(engine, "{}")
    with begin(engine) as connection:
        requests.release(connection, ASKED)

    assert claim_request(engine).outcome == "answered"


def test_a_message_is_found_by_its_id_once_it_is_confirmed(engine):
    claim_request(engine)
    with begin(engine) as connection:
        assert requests.accepted(connection, "m1") is None
    answer_request(engine, "{}")
    with begin(engine) as connection:
        assert requests.accepted(connection, "m1")[:2] == ("content.import_feed", "m1")


def test_requests_are_purged_when_they_are_as_old_as_ended_keys_may_be(engine):
    claim_request(engine)
    with begin(engine) as connection:
        long_ago = datetime.now(UTC) - timedelta(days=7, seconds=1)
        connection.execute(update(tables.requests).values(created_at=long_ago))
    claim_request(engine, ASKED._replace(idempotency_key="order-2"))

    assert purge(engine, key_ttl=timedelta(days=7))["requests"] == 1

    with begin(engine) as connection:
        assert connection.scalars(select(tables.requests.c.idempotency_key)).all() == ["order-2"]
