"""@actor."""

import uuid
from datetime import timedelta

import dramatiq
import pytest
from pydantic import BaseModel

from workers import actor, current_job
from workers.broker import setup_broker
from workers.errors import ConfigurationError, ContractError
from workers.transport import topology

CARD = {"owner": "tests", "expects": "nothing", "rollback": "none"}
setup_broker()
ran = []


class Event(BaseModel):
    name: str


@actor(**CARD)
def declared(event: Event, copies: int = 1) -> None:
    ran.append((event, copies))


@dramatiq.actor
def plain(number):
    ran.append(number)


@actor(**CARD)
def recursive(depth: int) -> None:
    ran.append(depth)
    if depth:
        recursive(depth=depth - 1)


@actor(**CARD)
def parent(twice: bool) -> None:
    declared.send(event={"name": "child"})
    if twice:
        declared.send(event={"name": "child"})
    if current_job().attempt == 1:
        raise RuntimeError("once more")


@actor(**CARD)
async def asynchronous(number: int) -> None:
    ran.append((number, current_job().actor))


@pytest.fixture(autouse=True)
def _nothing_has_run():
    ran.clear()


def test_a_job_runs_with_the_values_that_its_annotations_promise(jobs):
    declared.send(event=Event(name="a"), copies=2)
    declared.send({"name": "b"})

    jobs.run()

    assert ran == [(Event(name="a"), 2), (Event(name="b"), 1)]


def test_arguments_that_break_the_contract_are_refused_at_send(jobs):
    with pytest.raises(ContractError, match=r"event\.name"):
        declared.send(event={"name": 7})

    assert jobs.published == []


def test_a_direct_call_validates_as_well():
    declared(event={"name": "a"})

    assert ran == [(Event(name="a"), 1)]
    with pytest.raises(ContractError):
        declared(event={"name": 7})


def test_a_plain_dramatiq_actor_runs_too(jobs):
    plain.send(4)

    jobs.run()

    assert ran == [4]


def test_a_job_that_calls_its_own_function_passes_the_new_arguments(jobs):
    recursive.send(depth=2)

    jobs.run()

    assert ran == [2, 1, 0]


def test_an_async_actor_knows_its_job(jobs):
    asynchronous.send(number=1)

    jobs.run()

    assert ran == [(1, "asynchronous")]


def test_a_second_attempt_sends_the_same_ids_so_that_nothing_is_doubled(jobs):
    parent.send(twice=True)
    jobs.run()
    jobs.clock.advance(timedelta(minutes=1))
    jobs.run()

    sent = [message.message_id for message in jobs.published if message.actor_name == "declared"]
    assert len(sent) == 4
    assert len(set(sent)) == 2
    assert len(ran) == 2


def test_a_message_may_bring_its_own_id_and_key(jobs):
    message = declared.send_with_options(kwargs={"event": {"name": "a"}}, message_id="mine", key="my-key")

    assert message.message_id == "mine"
    assert message.options["key"] == "my-key"


def test_an_id_is_a_uuid_that_begins_with_its_time():
    messages = [declared.message(event={"name": "a"}) for _ in range(1000)]

    ids = [uuid.UUID(message.message_id) for message in messages]
    assert len(set(ids)) == len(ids)
    assert {(each.version, each.variant) for each in ids} == {(7, uuid.RFC_4122)}
    assert [each.int >> 80 for each in ids] == [message.message_timestamp for message in messages]


@pytest.mark.parametrize("missing", list(CARD))
def test_a_job_card_is_said_in_full(missing):
    with pytest.raises(ConfigurationError, match=missing):
        actor(**{**CARD, missing: " "}, actor_name="careless")(lambda: None)


@pytest.mark.parametrize("limit", [60, timedelta(milliseconds=999)])
def test_a_limit_under_a_second_is_taken_for_a_slip(limit):
    with pytest.raises(ConfigurationError, match="did you mean timedelta"):
        actor(**CARD, actor_name="hasty", time_limit=limit)(lambda: None)


def test_a_timedelta_becomes_dramatiq_s_milliseconds():
    unhurried = actor(**CARD, actor_name="unhurried", time_limit=timedelta(seconds=2))(lambda: None)

    assert unhurried.options["time_limit"] == 2000


def test_an_option_that_no_middleware_knows_is_refused():
    with pytest.raises(ValueError, match="colour"):
        actor(**CARD, actor_name="colourful", colour="red")(lambda: None)


@pytest.mark.parametrize("declare", [actor(**CARD, actor_name="é" * 121), dramatiq.actor(actor_name="é" * 121)])
def test_an_actor_whose_messages_could_not_be_parked_is_refused(declare):
    with pytest.raises(ConfigurationError, match=r"can.t be declared.*at most 240 bytes of UTF-8.*received 242 bytes"):
        declare(lambda: None)


def test_the_longest_name_of_an_actor_makes_the_longest_name_of_a_queue():
    longest = actor(**CARD, actor_name="é" * 120)(lambda: None)

    assert len(topology.parked_queue(longest.actor_name).encode()) == 255
