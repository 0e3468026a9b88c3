"""What a request asks for is published once and answered; what can't run is refused and not published."""

import asyncio
import json
from datetime import timedelta
from unittest.mock import patch

import pytest
from fastapi.testclient import TestClient

from workers.errors import BrokerUnreachable, PublishUnconfirmed, StoreUnavailable
from workers.gateway import body, frame
from workers.gateway.app import build
from workers.store import requests
from workers.store.engine import begin

ORDER = {"arguments": {"number": 7, "lines": [{"item": "lamp", "count": 2}]}}
FOUR = {"what", "expected", "received", "safe_to_retry"}
MAIL = {"arguments": {"address": "a@example.com", "day": 3}}


def refusal(answer, status, kind):
    """The problem in an answer, which says everything that a problem has to say."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["type"] == f"urn:dutiful:problem:{kind}"
    assert said["status"] == status
    assert said.keys() >= FOUR | {"title", "detail"}
    return said


def test_an_accepted_request_is_a_message_and_says_where_to_ask_after_it(shop, jobs):
    answer = shop.post("/v1/jobs/desk.order", json=ORDER)

    assert answer.status_code == 202
    (message,) = jobs.published
    assert answer.json() == {
        "id": message.message_id,
        "key": message.message_id,
        "actor": "desk.order",
        "queue": "desk",
    }
    assert message.kwargs == ORDER["arguments"]
    assert (
        message.options["contract"]
        == shop.get("/v1/contracts").json()["contracts"]["desk.order"]["x-dutiful"]["version"]
    )
    assert answer.headers["location"] == f"/v1/jobs/{message.message_id}?actor=desk.order"


def test_a_key_a_delay_and_a_trace_travel_with_the_message(shop, jobs):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    wanted = ORDER | {"key": "order/7", "delay_seconds": 90}

    answer = shop.post("/v1/jobs/desk.order", json=wanted, headers={"traceparent": trace})

    (message,) = jobs.published
    assert (message.options["key"], message.options["traceparent"]) == ("order/7", trace)
    assert jobs.broker.delayed[0][0] - jobs.clock.time == timedelta(seconds=90)
    assert answer.headers["location"].endswith("?actor=desk.order&key=order%2F7")


@pytest.mark.parametrize(
    ("path", "sent", "key"),
    [("desk.mail", MAIL, "a@example.com:3"), ("desk.mail", MAIL | {"key": "mine"}, "mine"), ("desk.ping", {}, None)],
)
def test_the_answer_tells_the_job_s_key(shop, path, sent, key):
    assert shop.post(f"/v1/jobs/{path}", json=sent).json()["key"] == key


def test_a_plain_actor_takes_any_arguments(shop, jobs):
    answer = shop.post("/v1/jobs/desk.plain", json={"arguments": {"n": [1]}, "key": "k"})

    assert answer.json() == {"id": jobs.published[0].message_id, "key": "k", "actor": "desk.plain", "queue": "desk"}


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"arguments": {"number": "seven", "lines": []}}, "number: Input should be a valid integer"),
        ({"arguments": {"number": 7, "lines": [{"item": "", "count": 0}]}}, "lines.0.item"),
        ({"arguments": {"number": 7}}, "can't run without lines"),
        ({"arguments": {}}, "number: Field required"),
        (ORDER | {"arguments": ORDER["arguments"] | {"colour": "red"}}, "colour"),
        (ORDER | {"colour": "red"}, "colour"),
        (ORDER | {"key": ""}, "key"),
        (ORDER | {"key": None}, "key"),
        (ORDER | {"key": "a\0b"}, "key"),
        (ORDER | {"delay_seconds": -1}, "delay_seconds"),
        (ORDER | {"delay_seconds": 1e12}, "delay_seconds"),
        ([1], "valid dictionary"),
    ],
)
def test_what_breaks_the_contract_is_refused_and_not_published(shop, jobs, sent, said):
    assert said in refusal(shop.post("/v1/jobs/desk.order", json=sent), 422, "contract")["detail"]
    assert not jobs.published


def test_a_job_without_a_record_takes_no_key(shop, jobs):
    refusal(shop.post("/v1/jobs/desk.ping", json={"key": "k"}), 422, "contract")
    assert not jobs.published


@pytest.mark.parametrize(("levels", "status"), [(62, 202), (63, 422)])
def test_what_nests_too_deep_is_refused_also_for_a_plain_actor(shop, jobs, levels, status):
    deep = "[" * levels + "1" + "]" * levels
    text = f'{{"arguments": {{"n": [{deep}]}}}}'

    answer = shop.post("/v1/jobs/desk.plain", content=text, headers={"Content-Type": "application/json"})

    assert answer.status_code == status, answer.text
    assert len(jobs.published) == (status == 202)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "nothing", b"\xff", '{"arguments": {"n": NaN}}', '{"arguments": {"n": 1e999}}', "1" * 5_000),
        "[" * 9_000,
    ],
    ids=lambda text: str(text[:30]),
)
def test_what_is_no_json_is_refused(shop, jobs, text):
    answer = shop.post("/v1/jobs/desk.plain", content=text, headers={"Content-Type": "application/json"})

    refusal(answer, 400, "malformed")
    assert not jobs.published


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}])
def test_a_body_of_another_kind_is_refused(shop, headers):
    sent = {"Content-Type": "application/json", **headers}

    refusal(shop.post("/v1/jobs/desk.order", content=json.dumps(ORDER), headers=sent), 415, "media_type")


def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(shop, jobs):
    def unsaid():
        yield from [b" " * 4_000] * 5

    kind = {"Content-Type": "application/json"}
    refusal(shop.post("/v1/jobs/desk.order", content=b" " * 10_001, headers=kind), 413, "too_large")
    refusal(shop.post("/v1/jobs/desk.order", content=unsaid(), headers=kind), 413, "too_large")
    assert not jobs.published


def test_a_body_that_does_not_arrive_is_not_waited_for(gateway, add_token, monkeypatch):
    monkeypatch.setattr(body, "READ_SECONDS", 0.05)
    token = add_token("shop", "desk.order")
    sent = []

    async def silence():
        await asyncio.sleep(30)

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {token}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/jobs/desk.order", "headers": headers, "query_string": b""}
    asyncio.run(build(gateway)(scope | {"client": None}, silence, send))

    assert sent[0]["status"] == 408


def test_the_same_request_gets_the_same_answer_and_is_one_message(shop, jobs):
    first, again = (
        shop.post("/v1/jobs/desk.order", json=ORDER, headers={"Idempotency-Key": key})
        for key in ('"order-7"', "order-7")
    )

    assert (first.status_code, first.json(), first.headers["location"]) == (
        again.status_code,
        again.json(),
        again.headers["location"],
    )
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert len(jobs.published) == 1


@pytest.mark.parametrize(
    ("path", "sent"),
    [("desk.order", ORDER | {"key": "k"}), ("desk.order", ORDER | {"delay_seconds": 1}), ("desk.mail", MAIL)],
)
def test_another_request_under_the_same_key_is_refused(shop, jobs, path, sent):
    named = {"Idempotency-Key": "order-7"}
    shop.post("/v1/jobs/desk.order", json=ORDER, headers=named)

    refusal(shop.post(f"/v1/jobs/{path}", json=sent, headers=named), 422, "key_used")
    assert len(jobs.published) == 1


def test_a_key_belongs_to_a_token(shop, add_token, jobs):
    named = {"Idempotency-Key": "order-7"}
    mine = shop.post("/v1/jobs/desk.order", json=ORDER, headers=named).json()
    other = named | {"Authorization": f"Bearer {add_token('mail', 'desk.order')}"}

    theirs = shop.post("/v1/jobs/desk.order", json=ORDER, headers=other).json()

    assert mine["id"] != theirs["id"]
    assert len(jobs.published) == 2


@pytest.mark.parametrize("key", ['""', '"a', 'a"b', "a b", '"' + "k" * 256 + '"', "ä".encode()])
def test_an_idempotency_key_that_is_none_is_refused(shop, jobs, key):
    refusal(shop.post("/v1/jobs/desk.order", json=ORDER, headers={"Idempotency-Key": key}), 400, "malformed")
    assert not jobs.published


def test_a_request_that_is_being_served_is_not_served_twice(shop, jobs):
    named = {"Idempotency-Key": "order-7"}
    real, beside = jobs.broker.publish, []

    def publish(message, *, delay=None):
        beside.append(shop.post("/v1/jobs/desk.order", json=ORDER, headers=named))
        real(message, delay=delay)

    with patch.object(jobs.broker, "publish", publish):
        assert shop.post("/v1/jobs/desk.order", json=ORDER, headers=named).status_code == 202

    said = refusal(beside[0], 409, "in_progress")
    assert said["safe_to_retry"]
    assert 1 <= int(beside[0].headers["retry-after"]) <= 15
    assert len(jobs.published) == 1


@pytest.mark.parametrize(
    ("asked", "named", "safe"),
    [
        (("desk.order", ORDER), {}, False),
        (("desk.order", ORDER | {"key": "k"}), {}, True),
        (("desk.order", ORDER), {"Idempotency-Key": "k"}, True),
        (("desk.mail", MAIL), {}, True),
        (("desk.ping", {}), {"Idempotency-Key": "k"}, False),
    ],
)
def test_without_a_confirm_the_answer_says_whether_a_repetition_is_safe(shop, jobs, asked, named, safe):
    path, sent = asked
    lost = PublishUnconfirmed("RabbitMQ did not confirm the message", received="10.0.0.7:5672 went away")

    with patch.object(jobs.broker, "send_to_queue", side_effect=lost):
        answer = shop.post(f"/v1/jobs/{path}", json=sent, headers=named)

    said = refusal(answer, 503, "unavailable")
    assert said["safe_to_retry"] is safe
    assert "10.0.0.7" not in answer.text
    assert answer.headers["retry-after"]


def test_what_was_not_taken_is_taken_when_it_is_asked_for_again_under_the_same_id(shop, jobs):
    named = {"Idempotency-Key": "order-7"}
    real, tried = jobs.broker.send_to_queue, []

    def lose(message, delay):
        tried.append(message.message_id)
        real(message, delay)  # it has arrived, and nobody knows
        raise BrokerUnreachable("RabbitMQ can't be reached")

    with patch.object(jobs.broker, "send_to_queue", lose):
        refusal(shop.post("/v1/jobs/desk.order", json=ORDER, headers=named), 503, "unavailable")
    answer = shop.post("/v1/jobs/desk.order", json=ORDER, headers=named)

    assert answer.status_code == 202
    assert [answer.json()["id"]] * 2 == [each.message_id for each in jobs.published]
    jobs.run()
    assert jobs.outcomes == [("desk.order", "succeeded"), ("desk.order", "duplicate")]


def test_what_is_confirmed_is_accepted_even_if_that_can_not_be_noted(shop, jobs):
    named = {"Idempotency-Key": "order-7"}

    with patch.object(requests, "answer", side_effect=StoreUnavailable("an answer could not be recorded")):
        assert shop.post("/v1/jobs/desk.order", json=ORDER, headers=named).status_code == 202

    refusal(shop.post("/v1/jobs/desk.order", json=ORDER, headers=named), 409, "in_progress")
    jobs.clock.advance(timedelta(seconds=6))
    assert shop.post("/v1/jobs/desk.order", json=ORDER, headers=named).status_code == 202
    jobs.run()
    assert jobs.outcomes == [("desk.order", "succeeded"), ("desk.order", "duplicate")]


def test_while_the_store_is_away_only_requests_without_a_key_are_taken(shop, jobs):
    away = StoreUnavailable("a request could not be looked up", received="10.0.0.8")

    with patch.object(requests, "claim", side_effect=away):
        assert shop.post("/v1/jobs/desk.order", json=ORDER).status_code == 202
        named = shop.post("/v1/jobs/desk.order", json=ORDER, headers={"Idempotency-Key": "k"})

    assert refusal(named, 503, "unavailable")["safe_to_retry"]
    assert len(jobs.published) == 1


def test_who_comes_when_too_much_is_in_hand_is_told_so(shop, gateway, jobs):
    gateway.hands._taken = gateway.hands._room

    answer = shop.post("/v1/jobs/desk.order", json=ORDER)

    assert refusal(answer, 503, "busy")["safe_to_retry"]
    assert answer.headers["retry-after"] == "1"
    assert not jobs.published


def test_what_nobody_foresaw_is_an_answer_without_a_traceback(shop, jobs, caplog):
    with patch.object(jobs.broker, "refuse", side_effect=ZeroDivisionError("password=hunter2")):
        answer = shop.post("/v1/jobs/desk.order", json=ORDER)

    refusal(answer, 500, "failed")
    assert "hunter2" not in answer.text
    assert "ZeroDivisionError" not in answer.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("path", ["/v1/jobs/desk.order", "/nothing", "/health", "/metrics", "/v1/actors"])
def test_every_answer_has_the_same_security_headers(app, path):
    answer = app.get(path)

    assert {name: answer.headers[name] for name in frame.HEADERS} == frame.HEADERS


def test_the_log_has_neither_token_nor_arguments_nor_what_is_in_a_path(shop, caplog):
    caplog.set_level("WARNING", "httpx")  # that is the client's own
    caplog.set_level("INFO")
    secret = shop.headers["Authorization"].removeprefix("Bearer ")
    shop.post("/v1/jobs/desk.order", json=ORDER, headers={"Idempotency-Key": "idem-1"})
    shop.post(f"/v1/jobs/{secret}?token={secret}", json=ORDER)
    shop.get(f"/{secret}", params={"token": secret})

    lines = [record.getMessage() for record in caplog.records if record.name == "dutiful.gateway"]
    assert len([line for line in lines if "request_answered" in line]) == 3
    assert "desk.order" in caplog.text
    for word in (secret, secret[-20:], "lamp", "idem-1"):
        assert word not in caplog.text


def test_nobody_gets_in_before_the_tokens_are_known(gateway):
    answer = TestClient(build(gateway)).get("/v1/actors")  # without its lifespan, nothing was looked at

    assert refusal(answer, 503, "unavailable")["safe_to_retry"]


def test_a_request_that_is_accepted_is_found_again_under_its_key(shop, jobs):
    with begin(jobs.store) as connection:
        assert requests.accepted(connection, "m") is None
    done = shop.post("/v1/jobs/desk.mail", json=MAIL, headers={"Idempotency-Key": "k"}).json()

    with begin(jobs.store) as connection:
        assert requests.accepted(connection, done["id"])[:2] == ("desk.mail", "a@example.com:3")
