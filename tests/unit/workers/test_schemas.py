"""The schema that other languages read."""

from enum import StrEnum

import pytest
from dramatiq.brokers.stub import StubBroker
from pydantic import BaseModel

from workers import actor
from workers.schemas import OURS, schema, schemas, version_of

CARD = {"owner": "shop", "expects": "a parcel is on its way", "rollback": "call it back", "queue_name": "shipping"}


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Address(BaseModel):
    street: str
    title: str = ""


def declared(fn, **options):
    return actor(broker=StubBroker(middleware=[]), **CARD | options)(fn)


def ship(order_id: int, to: Address, size: Size = Size.SMALL) -> None: ...


def test_a_schema_has_the_arguments_the_queue_the_key_and_the_owner():
    found = schema(declared(ship, key="{order_id}"))

    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["title"] == "ship"
    assert found["description"] == "a parcel is on its way"
    assert found["required"] == ["order_id", "to"]
    assert found["additionalProperties"] is False
    assert found["properties"]["order_id"] == {"type": "integer"}
    assert found["$defs"]["Address"]["required"] == ["street"]
    assert found[OURS] == {
        "actor": "ship",
        "version": version_of(found),
        "queue": "shipping",
        "key": "{order_id}",
        "owner": "shop",
    }


@pytest.mark.parametrize(("key", "said"), [("the message id", "message_id"), (None, None)])
def test_a_schema_says_what_the_key_is_where_there_is_no_template(key, said):
    assert schema(declared(ship, key=key))[OURS]["key"] == said


def test_every_actor_that_has_a_contract_has_a_schema():
    broker = StubBroker(middleware=[])
    for name in ("second", "first"):
        actor(broker=broker, actor_name=name, **CARD)(ship)

    assert list(schemas(broker)) == ["first", "second"]


def test_the_version_changes_with_what_is_accepted_and_with_nothing_else():
    def other_default(order_id: int, to: Address, size: Size = Size.LARGE) -> None: ...

    def wider(order_id: int | None, to: Address, size: Size = Size.SMALL) -> None: ...

    here = version_of(schema(declared(ship)))

    assert version_of(schema(declared(ship, owner="another", expects="something else"))) == here
    assert version_of(schema(declared(other_default, actor_name="ship"))) == here
    assert version_of(schema(declared(wider, actor_name="ship"))) != here


def test_an_argument_called_title_is_part_of_the_version():
    def titled(title: str = "") -> None: ...

    def untitled() -> None: ...

    versions = {version_of(schema(declared(each, actor_name="x"))) for each in (titled, untitled)}
    assert len(versions) == 2
