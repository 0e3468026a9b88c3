"""The envelope on the wire."""

import json

import pytest
from dramatiq import Message
from hypothesis import given
from hypothesis import strategies as st

from workers import envelope
from workers.errors import ContractError
from workers.transport import topology

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def message(**options):
    return Message("mail", "send", (), {"n": 1}, options, "id-1", 1_760_000_000_000)


def test_what_dutiful_adds_travels_as_headers_and_comes_back_as_options():
    sent = message(key="k", attempt=3, generation=1, deferrals=2, traceparent="00-a-b-01", max_retries=2)

    properties = envelope.properties(sent)
    received = envelope.decode(envelope.body(sent), properties.headers)

    assert received.options == sent.options
    assert json.loads(envelope.body(sent))["options"] == {"max_retries": 2}
    assert properties.headers["dutiful-key"] == "k"


def test_the_properties_tell_other_tools_what_a_message_is():
    properties = envelope.properties(message())

    assert (properties.message_id, properties.type, properties.content_type, properties.app_id) == (
        "id-1",
        "send",
        "application/json",
        "dutiful",
    )
    assert properties.delivery_mode == 2
    assert properties.timestamp == 1_760_000_000


def test_a_broker_s_own_headers_are_not_passed_on():
    received = envelope.decode(envelope.body(message()), {"x-death": [{"count": 1}], "dutiful-attempt": 2})

    assert envelope.properties(received).headers == {"dutiful-attempt": 2}


@pytest.mark.parametrize(
    ("name", "word", "bytes_"),
    [
        ("message_id", "é" * 128, 256),
        ("message_id", "", 0),
        ("message_id", "\ud800", 0),
        ("actor_name", "é" * 128, 256),
        ("queue_name", "é" * 99, 198),
        ("queue_name", "." * 66, 198),  # in a routing key each dot takes three bytes
    ],
)
def test_a_name_is_measured_in_bytes_before_it_is_sent(name, word, bytes_):
    with pytest.raises(ContractError, match=f"{name} that AMQP can't carry.*bytes of UTF-8.*received {bytes_} bytes"):
        envelope.refuse_long_words(message()._replace(**{name: word}))


def test_the_longest_names_can_be_sent_and_delayed():
    longest = message()._replace(message_id="é" * 127 + "e", actor_name="a" * 255, queue_name="é" * 98 + "e")

    envelope.refuse_long_words(longest)

    envelope.properties(longest).encode()
    assert len(topology.delay_route(topology.LONGEST_DELAY_MS, longest.queue_name)[1].encode()) == 255


@pytest.mark.parametrize("name", ["message_id", "actor_name"])
def test_a_message_that_could_not_be_sent_again_is_not_taken(name):
    with pytest.raises(ContractError, match=f"{name} is longer than 255 bytes"):
        envelope.decode(envelope.body(message()._replace(**{name: "é" * 200})), {})


def test_an_eta_is_dropped_because_the_broker_keeps_delays():
    assert envelope.decode(envelope.body(message(eta=1)), {}).options == {}


@given(st.dictionaries(st.text(), JSON))
def test_any_json_arguments_survive(kwargs):
    sent = message()._replace(kwargs=kwargs)

    assert envelope.decode(envelope.body(sent), {}).kwargs == kwargs


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xff\x00", "no JSON"),
        (b"[]", "list"),
        (b"{}", "queue_name"),
        (envelope.body(message()).replace(b'"kwargs":{"n":1}', b'"kwargs":[]'), "kwargs"),
        (envelope.body(message()).replace(b'"id-1"', b'""'), "message_id"),
        (envelope.body(message()).replace(b"1760000000000", b'"today"'), "message_timestamp"),
        (b"[" * 100_000, "no JSON"),
        (envelope.body(message()).replace(b'"id-1"', b'"\\ud800"'), "no JSON"),
        (envelope.body(message()).decode().encode("utf-16"), "no JSON"),
    ],
)
def test_a_body_that_is_no_message_is_refused_with_the_reason(body, said):
    with pytest.raises(ContractError, match=said):
        envelope.decode(body, {})


@pytest.mark.parametrize("headers", [{"dutiful-attempt": "2"}, {"dutiful-attempt": -1}, {"dutiful-key": 7}])
def test_a_header_of_the_wrong_kind_is_refused_by_name(headers):
    with pytest.raises(ContractError, match=next(iter(headers))):
        envelope.decode(envelope.body(message()), headers)


@given(st.binary())
def test_no_body_at_all_raises_anything_else(body):
    try:
        envelope.decode(body, {})
    except ContractError:
        return
    raise AssertionError("random bytes were taken for a message")
