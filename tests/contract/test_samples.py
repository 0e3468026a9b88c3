"""The conformance samples: messages as any language may write them, with the key that a worker finds in each."""

import json
from pathlib import Path

import pytest
from dramatiq.brokers.stub import StubBroker

from workers import actor, envelope
from workers.delivery import Delivery
from workers.errors import ContractError
from workers.job import Job
from workers.middleware.arguments import CheckedArguments

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.json"))
BROKER = StubBroker(middleware=[])
CARD = {"broker": BROKER, "queue_name": "shipping", "owner": "tests", "expects": "nothing", "rollback": "none"}


@actor(**CARD, key="{order_id}")
def ship(order_id: int, weight: float = 1.0, note: str = "") -> None:
    """Never run here; tests/integration/test_samples.py runs the same."""


@actor(**CARD)
def gift(order_id: int) -> None:
    """As above."""


def read(sample):
    """The job that a worker makes of a sample."""
    message = envelope.decode(sample["body"].encode(), sample["headers"])
    if message.queue_name != sample["routing_key"]:
        raise ContractError("the message names another queue than it is in")
    delivery = Delivery(message)
    delivery.job = Job(id=message.message_id, actor=message.actor_name, attempt=1, generation=0, engine=None)
    CheckedArguments().prepare(BROKER, [delivery])
    if delivery.refusal is not None:
        raise delivery.refusal
    return delivery.job


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_has_the_key_and_the_arguments_hash_that_it_says(path):
    sample = json.loads(path.read_text())
    expected = sample["expected"]
    if "key" not in expected:
        with pytest.raises(ContractError):
            read(sample)
        return

    job = read(sample)

    assert (job.key, job.arguments_hash) == (expected["key"], expected["arguments_hash"])
    assert sample["properties"]["delivery_mode"] == 2


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_that_is_sent_again_keeps_its_key(path):
    sample = json.loads(path.read_text())
    if "key" not in sample["expected"]:
        return
    message = envelope.decode(sample["body"].encode(), sample["headers"])

    again = sample | {"body": envelope.body(message).decode(), "headers": envelope.properties(message).headers}

    assert read(again).key == sample["expected"]["key"]
    assert read(again).arguments_hash == sample["expected"]["arguments_hash"]
