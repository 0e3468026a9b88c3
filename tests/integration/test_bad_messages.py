"""Bad messages of every kind: no worker dies of one, each becomes a dead letter that says why, and good ones succeed.

Short form: 200 messages. `PROOF=1` makes it 10,000. `SEED=` chooses others.
"""

import json
import os
import string
import time
import uuid
from collections import Counter

import pika
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from processes import until

PROOF = bool(os.environ.get("PROOF"))
SEED = int(os.environ.get("SEED", "1"))
BAD = 10_000 if PROOF else 200
GOOD_EVERY = 10
REASONS = {"undecodable", "contract", "unknown_actor", "key_conflict"}
TEN_MINUTES = 600_000

text = st.text(max_size=40)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
latin = st.text(string.ascii_letters, min_size=1, max_size=12)


def good(n):
    return {
        "queue_name": "shop",
        "actor_name": "good",
        "args": [],
        "kwargs": {"n": n},
        "options": {},
        "message_id": str(uuid.uuid4()),
        "message_timestamp": int(time.time() * 1000),
    }


FIELDS = list(good(0))
KINDS = {"args": list, "kwargs": dict, "options": dict, "message_timestamp": int}


@st.composite
def bodies(draw):  # noqa: C901  a kind a branch
    """The bytes of a message that can't run."""
    body = good(1)
    kind = draw(st.sampled_from(range(12)))
    if kind == 0:
        return draw(st.binary(max_size=200).filter(lambda data: not data.startswith(b"{")))
    if kind == 1:
        return json.dumps(body).encode()[: draw(st.integers(0, 150))]
    if kind == 2:
        return json.dumps(draw(values)).encode(errors="replace")
    if kind == 3:
        del body[draw(st.sampled_from(FIELDS))]
    if kind == 4:
        field = draw(st.sampled_from(FIELDS))
        body[field] = draw(values.filter(lambda value: type(value) is not KINDS.get(field, str)))
    if kind == 5:
        body["queue_name"] = draw(text.filter(lambda name: name != "shop"))
    if kind == 6:
        body["kwargs"] = draw(
            st.dictionaries(latin, values, min_size=1, max_size=3).filter(lambda each: "n" not in each)
        )
    if kind == 7:
        body["kwargs"] = {"n": draw(values.filter(lambda value: type(value) in {dict, list, type(None)}))}
    if kind == 8:
        depth = draw(st.integers(100, 20_000))
        return json.dumps(body).encode().replace(b'"n": 1', b'"n": ' + b"[" * depth + b"]" * depth)
    if kind == 9:
        body["kwargs"] = {"n": "x" * draw(st.integers(100_000, 400_000))}
    if kind == 10:
        return json.dumps(body).encode(draw(st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]))) + b"\xff"
    if kind == 11:
        body["message_id"] = draw(st.sampled_from(["", "x" * 256, "é" * 200, "nul\0", "\ud800", "y" * 100_000]))
    return json.dumps(body).encode()


hostile = st.sampled_from(
    [
        {"dutiful-attempt": "1"},
        {"dutiful-attempt": -1},
        {"dutiful-attempt": 2**62},
        {"dutiful-generation": 2**40},
        {"dutiful-generation": [1]},
        {"dutiful-deferrals": True},
        {"dutiful-key": 7},
        {"dutiful-key": ""},
        {"dutiful-key": "k" * 256},
        {"dutiful-key": "k" * 100_000},
        {"dutiful-key": "nul\0"},
        {"dutiful-replay-of": {"a": "table"}},
        {"traceparent": 1},
        {"traceparent": "t" * 100_000},
    ]
)
harmless = st.sampled_from([{}, {"mine": "x" * 60_000}, {"CC": ["elsewhere"]}, {"x-death": "no list"}, {"BCC": ["e"]}])


@st.composite
def messages(draw):
    """A bad body with any headers, or a good body with hostile ones."""
    is_unknown = draw(st.integers(0, 9)) == 0
    if is_unknown:
        headers = {"dutiful-first-deferred-at": int(time.time() * 1000) - 2 * TEN_MINUTES}
        return json.dumps(good(1) | {"actor_name": draw(text)}).encode(), headers, draw(properties())
    if draw(st.integers(0, 3)) == 0:
        return json.dumps(good(1)).encode(), draw(hostile), draw(properties())
    return draw(bodies()), draw(harmless), draw(properties())


@st.composite
def properties(draw):
    """Properties that RabbitMQ lets pass."""
    short = st.none() | st.text(string.printable, max_size=30)
    return {
        "content_type": draw(short),
        "content_encoding": draw(short),
        "correlation_id": draw(short),
        "reply_to": draw(st.none() | st.just("nowhere")),
        "message_id": draw(short),
        "type": draw(short),
        "app_id": draw(short),
        "user_id": draw(st.sampled_from([None, "dutiful"])),
        "priority": draw(st.none() | st.integers(0, 255)),
        "timestamp": draw(st.none() | st.integers(0, 2**40)),
        "expiration": draw(st.sampled_from([None, "3600000"])),
        "delivery_mode": draw(st.sampled_from([1, 2])),
    }


@pytest.mark.long
@pytest.mark.timeout(1800 if PROOF else 600)
def test_bad_messages_become_dead_letters_with_a_reason_and_good_ones_succeed(start_worker, shop, ledger, rabbitmq):
    worker = start_worker()
    worker.wait_until_ready()
    children = worker.children()
    sent, fine = publish(rabbitmq)
    until(lambda: shop.count("shop.XQ") >= sent, 1200 if PROOF else 200, what=f"not all of {sent} are dead letters")
    until(lambda: shop.count() == 0)
    until(lambda: len(lines(ledger)) >= fine, what="a good message is missing")
    assert worker.children() == children

    assert sorted(lines(ledger)) == sorted(f"good {n}" for n in range(fine))
    letters = shop.dead()
    found = Counter((properties.headers or {}).get("dutiful-reason") for properties, _ in letters)
    assert len(letters) == sent
    assert found.keys() <= REASONS, found
    assert all(properties.headers["dutiful-exception-message"] for properties, _ in letters)
    assert "died" not in worker.text()


def lines(ledger):
    return ledger.read_text().splitlines()


def publish(url):
    """Publish bad messages, with good ones between; how many of each."""
    counts = {"bad": 0, "good": 0}
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()

        @seed(SEED)
        @settings(
            max_examples=BAD,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(messages())
        def send(message):
            body, headers, given_properties = message
            channel.basic_publish("", "shop", body, pika.BasicProperties(headers=headers, **given_properties))
            counts["bad"] += 1
            if counts["bad"] % GOOD_EVERY == 0:
                channel.basic_publish("dutiful.jobs", "shop", json.dumps(good(counts["good"])).encode())
                counts["good"] += 1

        send()
    return counts["bad"], counts["good"]
