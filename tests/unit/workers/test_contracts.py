"""The contract between a sender and an actor."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from workers.contracts import Contract, arguments_hash
from workers.errors import ConfigurationError, ContractError


class Event(BaseModel):
    name: str
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)


def handle(event: Event, copies: int = 1, *, json: str = "x") -> None: ...


CONTRACT = Contract("handle", handle)


def test_arguments_become_what_the_annotations_say():
    found = CONTRACT.check([{"name": "a"}], {"copies": "2"})

    assert found.values == {"event": Event(name="a"), "copies": 2, "json": "x"}


def test_defaults_that_the_sender_left_out_do_not_travel():
    assert CONTRACT.check([Event(name="a")], {}).wire == {"event": {"name": "a"}}


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ([], {}, "event"),
        ([{"name": 1}], {}, "event.name"),
        ([{"name": "a"}, "many"], {}, "copies"),
        ([{"name": "a"}], {"colour": "red"}, "colour"),
        ([{"name": "a"}, 1, 2, 3], {}, "too many"),
    ],
)
def test_an_argument_at_fault_is_named(args, kwargs, said):
    with pytest.raises(ContractError) as refusal:
        CONTRACT.check(args, kwargs)

    assert said in str(refusal.value)
    assert not refusal.value.safe_to_retry


def test_a_value_is_never_in_the_refusal():
    with pytest.raises(ContractError) as refusal:
        CONTRACT.check([{"name": "a"}], {"copies": "hunter2"})

    assert "hunter2" not in str(refusal.value)


@given(st.text(), st.datetimes(timezones=st.just(UTC)), st.integers(-(2**60), 2**60))
def test_the_wire_reads_back_as_the_same_values(name, at, copies):
    sent = CONTRACT.check([Event(name=name, at=at)], {"copies": copies})

    received = CONTRACT.check([], json.loads(json.dumps(sent.wire)))

    assert received.values == sent.values


@given(st.dictionaries(st.text(min_size=1), st.integers() | st.text() | st.lists(st.integers())))
def test_the_arguments_hash_ignores_the_order_of_names(wire):
    backwards = dict(reversed(wire.items()))

    assert arguments_hash("handle", wire) == arguments_hash("handle", backwards)


def test_the_arguments_hash_tells_actors_and_arguments_apart():
    hashes = {arguments_hash("a", {"n": 1}), arguments_hash("b", {"n": 1}), arguments_hash("a", {"n": 2})}

    assert len(hashes) == 3


def test_a_secret_among_the_arguments_is_refused_at_declaration():
    def leak(password: SecretStr) -> None: ...

    with pytest.raises(ConfigurationError, match="secret"):
        Contract("leak", leak)


def test_a_parameter_without_a_name_is_refused_at_declaration():
    def loose(*events: Event) -> None: ...

    with pytest.raises(ConfigurationError, match="names"):
        Contract("loose", loose)


def test_a_whole_number_is_the_same_argument_however_a_language_writes_it():
    python = {"n": 2.0, "deep": [{"big": 1e16, "zero": -0.0}], "text": "v2.0"}
    javascript = {"n": 2, "deep": [{"big": 10**16, "zero": 0}], "text": "v2.0"}

    assert arguments_hash("a", python) == arguments_hash("a", javascript)
    assert arguments_hash("a", {"n": 2.5}) != arguments_hash("a", {"n": 2})
    assert arguments_hash("a", {"n": "2.0"}) != arguments_hash("a", {"n": "2"})
    assert arguments_hash("a", {"n": True}) != arguments_hash("a", {"n": 1})
