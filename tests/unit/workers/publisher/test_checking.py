"""What a publisher finds wrong with arguments before they are sent."""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, HttpUrl
from pydantic_core import to_jsonable_python

from workers.contracts import Contract
from workers.errors import ContractError
from workers.publisher.checking import faults


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Line(BaseModel):
    sku: Annotated[str, Field(min_length=1, pattern=r"^[A-Z]+$")]
    price: Decimal = Decimal(1)
    parts: "list[Line]" = []


def order(
    lines: list[Line],
    *,
    size: Size = Size.SMALL,
    priority: Annotated[int, Field(ge=0, lt=10)] = 0,
    kind: Literal["new", "old"] = "new",
    to: HttpUrl | None = None,
    when: datetime | None = None,
    who: UUID | None = None,
    pair: tuple[int, str] = (1, "a"),
    counts: dict[str, int] | None = None,
    anything: Any = None,
) -> None: ...


CONTRACT = Contract("order", order)
SCHEMA = CONTRACT.model.model_json_schema()
GOOD = {"lines": [{"sku": "A", "parts": [{"sku": "B", "price": "2.5"}]}]}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"size": Size.LARGE, "priority": 9, "kind": "old"},
        {"to": "https://example.com/x", "when": datetime(2026, 1, 1, tzinfo=UTC), "who": UUID(int=7)},
        {"pair": (1, "b"), "counts": {"x": 1}, "anything": [None, {"y": 1.5}]},
        {"priority": 2.0, "to": None},
    ],
)
def test_what_the_actor_takes_passes(more):
    arguments = to_jsonable_python(GOOD | more)

    assert faults(arguments, SCHEMA) == []
    CONTRACT.check([], arguments)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"lines": "A"}, "lines: is no array"),
        ({"lines": [{"sku": "A"}, {"price": 1}]}, "lines[1].sku: is missing"),
        ({"lines": [{"sku": "a"}]}, "lines[0].sku: does not match"),
        ({"lines": [{"sku": ""}]}, "lines[0].sku: breaks minLength 1"),
        ({"lines": [{"sku": "A", "parts": [{"sku": 1}]}]}, "lines[0].parts[0].sku: is no string"),
        ({"size": "middle"}, "size: is none of 'small', 'large'"),
        ({"priority": -1}, "priority: breaks minimum 0"),
        ({"priority": 10}, "priority: breaks exclusiveMaximum 10"),
        ({"priority": 1.5}, "priority: is no integer"),
        ({"kind": "other"}, "kind: is none of"),
        ({"to": "nowhere"}, "to: is none of string, null"),
        ({"when": "yesterday"}, "when: is none of"),
        ({"who": "me"}, "who: is none of"),
        ({"pair": [1]}, "pair: breaks minItems 2"),
        ({"pair": ["x", "b"]}, "pair[0]: is no integer"),
        ({"counts": {"x": "many"}}, "counts: is none of"),
        ({"colour": "red"}, "colour: is no argument"),
    ],
)
def test_what_the_actor_refuses_is_named_with_its_place(wrong, said):
    arguments = GOOD | wrong

    assert any(each.startswith(said) for each in faults(arguments, SCHEMA)), faults(arguments, SCHEMA)
    with pytest.raises(ContractError):
        CONTRACT.check([], arguments)


def test_a_truth_is_no_number_here_though_a_worker_takes_it_for_one():
    assert faults(GOOD | {"priority": True}, SCHEMA) == ["priority: is no integer"]


def test_no_value_is_told():
    assert "hunter2" not in " ".join(faults(GOOD | {"priority": "hunter2", "who": "hunter2"}, SCHEMA))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.sampled_from(["", "A", "new", "small", "2026-01-01T00:00:00Z"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["sku", "price", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(SCHEMA["properties"])), VALUES)
def test_what_passes_here_is_taken_by_the_worker(name, value):
    arguments = GOOD | {name: value}

    if not faults(arguments, SCHEMA):
        CONTRACT.check([], arguments)


def test_dates_and_other_forms_pass_as_pydantic_writes_them():
    def job(day: date, raw: bytes, often: set[int], price: Decimal) -> None: ...

    contract = Contract("job", job)
    arguments = to_jsonable_python({"day": date(2026, 1, 1), "raw": b"x", "often": {1}, "price": Decimal("1.5")})

    assert faults(arguments, contract.model.model_json_schema()) == []
    contract.check([], arguments)
