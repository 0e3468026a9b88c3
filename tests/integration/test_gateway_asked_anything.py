"""schemathesis asks the gateway whatever its OpenAPI allows, and what it does not; RabbitMQ has what was accepted."""

import os
from collections import Counter

import pika
import pytest
import schemathesis
from gateway import Gateway, add_token
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from processes import unset  # noqa: F401  the folder of these helpers is on the path
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from workers.store import tokens

PROOF = bool(os.environ.get("PROOF"))
ASKED = 100 if PROOF else 8


@pytest.fixture
def token(environment):
    return add_token(environment["DUTIFUL_STORE__URL"], "shop", tokens.EVERY)


@pytest.fixture
def gateway(environment, token, tmp_path):
    running = Gateway(environment, tmp_path)
    running.wait_until_ready()
    yield running
    running.kill()


def everything(url):
    """The id of every message in the vhost, wherever it waits."""
    found = []
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for queue in ["shop", *(f"dutiful.delay.{level:02d}" for level in range(29))]:
            while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
                found.append(got[1].message_id)
    return found


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_whatever_is_asked_the_answer_is_described_and_what_is_accepted_is_there(gateway, token, rabbitmq):
    headers = {"Authorization": f"Bearer {token}"}
    with gateway.client(token) as client:
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    accepted, statuses = [], Counter()

    def ask(operation, mode):
        @seed(7)
        @settings(
            max_examples=ASKED,
            database=None,
            deadline=None,
            verbosity=Verbosity.quiet,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            answer = case.call(base_url=gateway.url, headers=headers)
            statuses[answer.status_code] += 1
            taken = answer.status_code == 422 and answer.json()["type"] == "urn:dutiful:problem:key_used"
            case.validate_response(answer, excluded_checks=[positive_data_acceptance] if taken else None)
            if answer.status_code == 202:
                accepted.append(answer.json()["id"])

        check()

    for found in schema.get_all_operations():
        operation = found.ok()
        ask(operation, GenerationMode.POSITIVE)
        if operation.method == "post":
            ask(operation, GenerationMode.NEGATIVE)

    assert statuses[202] > 20, statuses
    assert statuses[422] > 20, statuses
    assert set(everything(rabbitmq)) == set(accepted)
