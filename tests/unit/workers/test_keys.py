"""Key templates."""

import pytest
from pydantic import BaseModel

from workers.errors import ConfigurationError, ContractError
from workers.keys import KeyTemplate, checked_key


class Event(BaseModel):
    id: str


def test_a_template_reads_arguments_and_their_attributes():
    template = KeyTemplate("deliver", "{event.id}:{copy}", {"event": 0, "copy": 0})

    assert template({"event": Event(id="e1"), "copy": 2}) == "e1:2"


@pytest.mark.parametrize("template", ["{evnt.id}", "always the same", "{", "{event.id}:{}"])
def test_a_template_that_cannot_work_is_refused_at_declaration(template):
    with pytest.raises(ConfigurationError, match="deliver"):
        KeyTemplate("deliver", template, {"event": 0})


@pytest.mark.parametrize("event", [Event(id=""), Event(id="x" * 256), Event(id="a\0b"), object()])
def test_arguments_that_give_no_usable_key_are_a_contract_error(event):
    template = KeyTemplate("deliver", "{event.id}", {"event": 0})

    with pytest.raises(ContractError, match="deliver"):
        template({"event": event})


@pytest.mark.parametrize("key", [None, 7, b"bytes", ""])
def test_a_key_is_text(key):
    with pytest.raises(ContractError):
        checked_key("deliver", key)
