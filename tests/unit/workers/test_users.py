"""RabbitMQ's users are made with all their passwords, by an administrator, or not at all."""

import pytest
from typer.testing import CliRunner

from workers import settings as module
from workers.cli import app
from workers.errors import DutifulError
from workers.management import Management, ManagementUnavailable
from workers.users import ROLES, definitions, password_hash, takes_consumer_timeout

PASSWORDS = {f"DUTIFUL_USERS__{role.upper()}_PASSWORD": f"{role}-hidden" for role in ROLES}
MANAGEMENT = {"DUTIFUL_RABBITMQ__MANAGEMENT_URL": "http://root:hidden@127.0.0.1:9"}  # nobody listens there


@pytest.fixture
def declare(monkeypatch):
    def run(**variables):
        module.settings.cache_clear()
        for name, value in ({"DUTIFUL_RABBITMQ__URL": "amqp://u:p@127.0.0.1:9/v"} | variables).items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, ["users", "declare"]).exception

    yield run
    module.settings.cache_clear()


def test_a_hash_is_the_one_that_rabbitmq_computes():
    # The example of RabbitMQ's own documentation: the salt 908D C60A and the password test12.
    assert password_hash("test12", bytes.fromhex("908DC60A")) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    assert password_hash("x") != password_hash("x")


def test_a_policy_for_consumer_timeout_is_only_there_when_asked_for():
    (policy,) = definitions(["a"], vhost="v", consumer_timeout_ms=9)["policies"]

    assert (policy["vhost"], policy["definition"]["consumer-timeout"]) == ("v", 9)
    assert "consumer-timeout" not in definitions(["a"])["policies"][0]["definition"]


@pytest.mark.parametrize(
    ("version", "takes"), [("3.10.8", False), ("3.11.28", False), ("3.12.0", True), ("4.0.5", True), ("", False)]
)
def test_consumer_timeout_goes_into_the_policy_where_rabbitmq_takes_it(version, takes):
    assert takes_consumer_timeout(version) is takes


def test_each_password_is_asked_for_by_its_name(declare):
    error = declare(**MANAGEMENT, **PASSWORDS | {"DUTIFUL_USERS__OPERATOR_PASSWORD": ""})

    assert isinstance(error, DutifulError)
    assert error.received == "no DUTIFUL_USERS__OPERATOR_PASSWORD"


def test_without_an_administrator_it_says_how_to_name_one(declare):
    assert "DUTIFUL_RABBITMQ__MANAGEMENT_URL=http://ADMINISTRATOR" in str(declare(**PASSWORDS))


def test_a_rabbitmq_that_is_away_is_named_and_no_password_is():
    page = Management(MANAGEMENT["DUTIFUL_RABBITMQ__MANAGEMENT_URL"], vhost="v", user="", password="")

    with pytest.raises(ManagementUnavailable) as refusal:
        page.make(definitions(["a"]))

    assert refusal.value.safe_to_retry
    assert "http://127.0.0.1:9" in refusal.value.received
    assert "hidden" not in str(refusal.value)
