"""A dead letter is read with care: whoever wrote it, it can be listed and shown."""

import json
from datetime import UTC, datetime

import pika
import pytest

from workers.letter import Letter
from workers.masking import HIDDEN, masked, masked_text
from workers.post_mortem import headers, unreadable

BODY = {
    "queue_name": "shop",
    "actor_name": "buy",
    "args": [],
    "kwargs": {"n": 1},
    "options": {"max_retries": 2, "failures": ["then"], "first_failed_at": "then", "requeue_timestamp": 1},
    "message_id": "m",
    "message_timestamp": 1,
}


def letter(body=None, queue="shop.XQ", **said):
    data = json.dumps(BODY).encode() if body is None else body
    return Letter(queue, 1, pika.BasicProperties(headers=said or None), data)


def test_a_replay_keeps_what_it_is_and_forgets_what_it_went_through():
    dead = letter(**{"dutiful-key": "k", "dutiful-attempt": 3, "dutiful-generation": 1, "dutiful-reason": "contract"})

    again = dead.again()

    assert (again.message_id, again.kwargs, again.queue_name) == ("m", {"n": 1}, "shop")
    assert again.options.pop("replay_of").split()[1:] == ["contract", dead.fingerprint]
    assert again.options == {"max_retries": 2, "key": "k", "generation": 2}


def test_a_replay_goes_to_the_queue_that_it_died_in():
    assert letter(queue="ship.XQ").again().queue_name == "ship"
    assert letter(queue="dutiful.undeliverable").again().queue_name == "shop"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, "unknown"),
        ({"dutiful-reason": 7}, "unknown"),
        ({"x-death": [{"reason": "delivery_limit"}]}, "delivery_limit"),
        ({"x-death": "no list", "x-first-death-reason": "delivery_limit"}, "delivery_limit"),
        ({"x-death": [7]}, "unknown"),
        ({"x-death": [{"reason": "delivery_limit"}], "dutiful-reason": "permanent"}, "permanent"),
    ],
)
def test_the_reason_is_ours_or_that_of_rabbitmq(said, reason):
    assert letter(**said).reason == reason


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[]", b"7" * 9000])
def test_what_cant_be_read_can_be_shown(body):
    dead = letter(body, **{"dutiful-last-failed-at": "yesterday", "dutiful-generation": "x", "dutiful-attempts": [1]})

    shown = dead.details()

    assert (shown["arguments"], shown["bytes"], shown["failed_at"]) == (None, len(body), None)
    assert len(shown["body"]) <= 9000
    assert dead.again() is None


def test_rabbitmq_s_own_time_is_the_time_where_there_is_no_other():
    moment = datetime(2030, 1, 1, tzinfo=UTC)

    assert letter(**{"x-death": [{"time": moment.replace(tzinfo=None)}]}).failed_at == moment


def test_secrets_are_hidden_by_their_names_however_deep():
    shown = masked({"user": "ann", "Password": "x", "list": [{"api-key": "x", "auth": {"access_token": "x"}}]})

    assert shown == {"user": "ann", "Password": HIDDEN, "list": [{"api-key": HIDDEN, "auth": {"access_token": HIDDEN}}]}


@pytest.mark.parametrize(
    "text",
    [
        "password=s3cret",
        "{'token': 's3cret'}",
        "Authorization: Bearer s3cret",
        "amqp://ann:s3cret@host/vhost",
        'api_key = "s3cret and more"',
    ],
)
def test_secrets_are_hidden_in_texts(text):
    assert "s3cret" not in masked_text(text)


def test_the_headers_of_a_dead_letter_fit_into_one_frame_of_rabbitmq():
    error = ValueError("€" * 500_000 + "\ud800")

    said = headers("permanent", error) | unreadable(error, {"mine": "€" * 100_000, "table": {"a": [b"\xff"]}})

    assert sum(len(str(value).encode()) for value in said.values()) < 60_000
