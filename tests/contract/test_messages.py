"""docs/messages.md says what the code reads and writes."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

import actors
from workers import envelope, post_mortem
from workers.broker import setup_broker
from workers.delivery import Reason
from workers.errors import ContractError
from workers.settings import Settings
from workers.transport import topology

PAGE = (Path(__file__).parents[2] / "docs/messages.md").read_text()


def section(title):
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]


def table(title):
    """The first two cells of each row."""
    found = re.findall(r"^\| `([^`]+)` \| (.*?) \|", section(title), re.MULTILINE)
    assert len({name for name, _ in found}) == len(found)
    return dict(found)


def block(title, language):
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", section(title), re.DOTALL | re.MULTILINE)
    return text


@pytest.fixture
def example():
    return json.loads(block("Example", "json"))


def read(fields, headers=None):
    return envelope.decode(json.dumps(fields).encode(), headers or {})


def test_the_example_is_a_message_that_its_actor_takes(example):
    message = read(example)
    actor = setup_broker().actors[message.actor_name]

    assert actor.fn.__module__.startswith(actors.__name__)
    assert actor.queue_name == message.queue_name
    assert actor.contract.check(message.args, message.kwargs).wire == example["kwargs"]
    assert json.loads(envelope.body(message)) == example


def test_the_python_example_publishes_to_the_queue_of_the_message(example):
    shown = block("Example", "python")
    compile(shown, "docs/messages.md", "exec")

    assert f'basic_publish("{topology.JOBS}", "{example["queue_name"]}"' in shown
    assert "confirm_delivery()" in shown
    assert "mandatory=True" in shown


def test_the_fields_of_the_body_are_those_of_the_example(example):
    assert list(table("Body")) == list(example)


JSON = {"text": 1, "list": {}, "object": [], "whole number": "1"}


@pytest.mark.parametrize("field", table("Body"))
def test_a_body_without_a_field_or_with_another_type_is_refused(example, field):
    kind = table("Body")[field]

    with pytest.raises(ContractError):
        read({name: value for name, value in example.items() if name != field})
    with pytest.raises(ContractError):
        read(example | {field: JSON[kind]})


def test_the_largest_message_is_the_setting_s_default():
    limit = Settings.model_fields["rabbitmq"].annotation.model_fields["max_message_bytes"].default

    assert f"{limit:,} bytes" in section("Body")


def test_the_properties_are_those_that_are_sent(example):
    sent = envelope.properties(read(example))
    names = {name for name, value in vars(sent).items() if value is not None and name != "headers"}

    assert names == table("Properties").keys()


def test_the_headers_are_those_that_are_read():
    assert list(table("Headers")) == list(envelope.HEADERS.values())


@pytest.mark.parametrize("header", table("Headers"))
def test_a_header_has_the_type_that_is_said(example, header):
    good = {"text": "x", "whole number": 1}[table("Headers")[header]]
    bad = {"text": 1, "whole number": "1"}[table("Headers")[header]]

    sent = envelope.properties(read(example, {header: good}))

    assert sent.headers == {header: good}
    with pytest.raises(ContractError):
        read(example, {header: bad})


def test_a_foreign_header_is_dropped(example):
    assert envelope.properties(read(example, {"x-death": "x", "mine": 1})).headers == {}


@pytest.mark.parametrize("queue", ["content", "a.b%c"])
@pytest.mark.parametrize("milliseconds", [1, 100, 101, 90_000, 599_999])
def test_the_way_to_delay_is_the_ladder_s(milliseconds, queue):
    names = {}
    exec(block("Delays", "python"), names)

    assert names["delayed"](milliseconds, queue) == topology.delay_route(milliseconds, queue)


def test_the_facts_about_delays_are_the_ladder_s():
    text = section("Delays")

    assert f"exchange `{topology.delay_route(90_000, 'q')[0]}`" in text
    assert f"{topology.LONGEST_DELAY_MS // 86_400_000} days" in text
    assert f"`{topology.UNDELIVERABLE}`" in text
    assert f"ladder of {topology.LEVELS} queues" in text


def test_the_reasons_are_those_that_dead_letters_have():
    assert table("What is refused").keys() == set(get_args(Reason))


def test_rabbitmq_s_own_limit_is_said():
    assert f"delivered {topology.DELIVERY_LIMIT} times" in section("What is refused")


def test_the_headers_of_a_dead_letter_are_those_that_are_written(example):
    said = post_mortem.headers("permanent", ValueError("x"), message=read(example))

    assert table("Dead letters").keys() == said.keys()
    assert f"{post_mortem._LONGEST_TEXT:,} bytes" in section("Dead letters")
    assert f"{post_mortem._LONGEST_TRACEBACK:,} bytes" in section("Dead letters")
