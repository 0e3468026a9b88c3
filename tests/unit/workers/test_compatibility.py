"""What a change of a contract does to messages that wait."""

import inspect
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, HttpUrl

from workers.compatibility import breaks
from workers.contracts import Contract
from workers.errors import ContractError

NOTHING = inspect.Parameter.empty


class Line(BaseModel):
    sku: str
    parts: "list[Line]" = []


class LineWithNote(BaseModel):
    sku: str
    note: str = ""
    parts: "list[LineWithNote]" = []


class StrictLine(BaseModel):
    sku: str
    weight: int
    parts: "list[StrictLine]" = []


def contract(**arguments):
    """A contract of arguments: name=annotation, or name=(annotation, default)."""
    parameters = []
    for name, said in arguments.items():
        annotation, default = said if isinstance(said, tuple) else (said, NOTHING)
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        )

    def job(): ...

    job.__signature__ = inspect.Signature(parameters)
    job.__annotations__ = {each.name: each.annotation for each in parameters}
    return Contract("job", job)


def schema(**arguments):
    return contract(**arguments).model.model_json_schema()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"n": int}, {"n": int}),
        ({"n": int}, {"n": int, "more": (str, "")}),
        ({"n": int}, {"n": int | None}),
        ({"n": int}, {"n": (int, 1)}),
        ({"n": int}, {"n": float}),
        ({"n": int}, {"n": Any}),
        ({"n": Literal["a"]}, {"n": Literal["a", "b"]}),
        ({"n": Literal["a"]}, {"n": str}),
        ({"n": Annotated[int, Field(ge=1)]}, {"n": Annotated[int, Field(ge=0)]}),
        ({"n": Annotated[str, Field(max_length=3)]}, {"n": str}),
        ({"n": HttpUrl}, {"n": str}),
        ({"n": list[int]}, {"n": list[int | str]}),
        ({"n": dict[str, int]}, {"n": dict[str, Any]}),
        ({"n": tuple[int, int]}, {"n": list[int]}),
        ({"n": int | str}, {"n": int | str | None}),
        ({"n": Line}, {"n": LineWithNote}),
        ({"n": Line}, {"n": dict}),
        ({"n": Decimal}, {"n": Decimal | None}),
        ({}, {"n": (int, 1)}),
    ],
)
def test_a_change_that_takes_all_that_it_took_passes(before, after):
    assert breaks(schema(**before), schema(**after)) == []


@pytest.mark.parametrize(
    ("before", "after", "where", "said"),
    [
        ({"n": int}, {"n": int, "more": str}, "more", "required now"),
        ({"n": (int, 1)}, {"n": int}, "n", "required now"),
        ({"n": int, "gone": (int, 1)}, {"n": int}, "gone", "it is gone"),
        ({"n": str}, {"n": int}, "n", "it took string, and takes integer now"),
        ({"n": float}, {"n": int}, "n", "it took number"),
        ({"n": int | None}, {"n": int}, "n", "it took null"),
        ({"n": Any}, {"n": int}, "n", "it took anything"),
        ({"n": Literal["a", "b"]}, {"n": Literal["a"]}, "n", "it takes b no longer"),
        ({"n": str}, {"n": Literal["a"]}, "n", "nothing but a"),
        ({"n": int}, {"n": Annotated[int, Field(ge=0)]}, "n", "minimum was not there, and is 0 now"),
        (
            {"n": Annotated[str, Field(max_length=9)]},
            {"n": Annotated[str, Field(max_length=8)]},
            "n",
            "maxLength was 9",
        ),
        ({"n": str}, {"n": Annotated[str, Field(pattern="^a")]}, "n", "pattern"),
        ({"n": str}, {"n": HttpUrl}, "n", "format"),
        ({"n": list[int]}, {"n": list[str]}, "n[]", "it took integer"),
        ({"n": list[int]}, {"n": set[int]}, "n", "uniqueItems"),
        ({"n": list[int]}, {"n": tuple[int, int]}, "n", "minItems"),
        ({"n": dict[str, Any]}, {"n": dict[str, int]}, "n.*", "it took anything"),
        ({"n": int | str | None}, {"n": int | str}, "n", "it took null"),
        ({"n": Line}, {"n": StrictLine}, "n.weight", "required now"),
        ({"n": Line}, {"n": str}, "n", "it took object"),
    ],
)
def test_a_change_that_would_refuse_messages_that_wait_says_where_why_and_what_to_do(before, after, where, said):
    found = breaks(schema(**before), schema(**after))

    (mine,) = [each for each in found if each.where == where and said in each.why]
    assert mine.rollout


KINDS = {
    int: st.integers(-2, 2),
    float: st.sampled_from([0.5, 1.0]),
    str: st.sampled_from(["", "a", "abc"]),
    bool: st.booleans(),
    int | None: st.sampled_from([None, 1]),
    Literal["a", "b"]: st.sampled_from(["a", "b"]),
    Annotated[int, Field(ge=0)]: st.integers(0, 2),
    Annotated[str, Field(min_length=1)]: st.sampled_from(["a", "abc"]),
    list[int]: st.lists(st.integers(-2, 2), max_size=2),
    list[str]: st.lists(st.sampled_from(["a"]), max_size=2),
    tuple[int, str]: st.just([1, "a"]),
    dict[str, int]: st.just({"x": 1}),
    Line: st.sampled_from([{"sku": "a"}, {"sku": "a", "parts": [{"sku": "b"}]}]),
    StrictLine: st.just({"sku": "a", "weight": 1}),
    LineWithNote: st.just({"sku": "a", "note": "x"}),
}


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(list(KINDS)), st.sampled_from(list(KINDS)))
def test_what_passes_takes_every_message_of_before(data, before, after):
    if not breaks(schema(n=before), schema(n=after)):
        message = {"n": data.draw(KINDS[before])}
        try:
            contract(n=after).check([], message)
        except ContractError as error:
            pytest.fail(f"{before} to {after} passed, but: {error}")
