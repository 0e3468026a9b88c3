"""What the doctor says about settings that let strangers in, or listen."""

import re

import pytest

from workers.doctor.exposure import exposure
from workers.settings import Settings

CASES = {
    "guest": (
        {"DUTIFUL_RABBITMQ__URL": "amqps://guest:secret@broker/dutiful"},
        "the user of RabbitMQ at broker has a password that everybody knows",
        "the user guest",
    ),
    "a name as its password": (
        {"DUTIFUL_RABBITMQ__URL": "amqps://dutiful:dutiful@broker/dutiful"},
        "the user of RabbitMQ at broker has a password that everybody knows",
        "the user dutiful, with its name as the password",
    ),
    "plain AMQP": (
        {"DUTIFUL_RABBITMQ__URL": "amqps://u:p@one/dutiful;amqp://u:p@two/dutiful"},
        "password and jobs go to two in plain text",
        "amqp://",
    ),
    "plain management": (
        {"DUTIFUL_RABBITMQ__MANAGEMENT_URL": "http://broker:15672"},
        "a password goes to the management page of broker in plain text",
        "http://",
    ),
    "PostgreSQL without a checked certificate": (
        {"DUTIFUL_STORE__URL": "postgresql+psycopg://u:p@database/dutiful?sslmode=require"},
        "nothing makes sure that database is the store, nor that nobody listens",
        "sslmode=require",
    ),
    "an open port for metrics": (
        {"DUTIFUL_METRICS__HOST": "0.0.0.0"},
        "whoever reaches this host can read /metrics",
        "0.0.0.0",
    ),
}


@pytest.fixture
def seen(monkeypatch):
    """What is left open by these settings: seen({"DUTIFUL_X": "..."})."""

    def look(variables):
        for name in ("DUTIFUL_RABBITMQ__URL", "DUTIFUL_STORE__URL"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return exposure(Settings.load())

    return look


@pytest.mark.parametrize("case", CASES)
def test_a_door_that_is_open_is_named_with_what_closes_it(case, seen):
    variables, what, received = CASES[case]

    (line,) = seen(variables)

    assert (line.verdict, line.what, line.received) == ("wrong", what, received)
    assert line.expected
    assert line.mend


@pytest.mark.parametrize("case", ["plain AMQP", "plain management", "an open port for metrics"])
def test_a_private_network_is_what_the_command_says(case, seen):
    name = "DUTIFUL_PRIVATE_NETWORK"
    (line,) = seen(CASES[case][0])

    assert re.search(rf"{name}=true", line.mend)
    assert [each.verdict for each in seen({name: "true"})] == ["ok"]


def test_a_known_password_is_no_better_on_a_private_network(seen):
    assert [each.verdict for each in seen(CASES["guest"][0] | {"DUTIFUL_PRIVATE_NETWORK": "true"})] == ["wrong"]


def test_the_port_for_metrics_is_closed_by_the_command(seen):
    (line,) = seen({"DUTIFUL_METRICS__HOST": ""})
    name, value = re.search(r"export (\w+)=([\d.]+)", line.mend).groups()

    assert [each.verdict for each in seen({name: value})] == ["ok"]


def test_what_is_shipped_is_for_loopback_and_leaves_nothing_open(seen):
    assert [each.verdict for each in seen({})] == ["ok"]
    there = {
        "DUTIFUL_RABBITMQ__URL": "amqps://jobs:drawn@broker/dutiful",
        "DUTIFUL_RABBITMQ__MANAGEMENT_URL": "https://broker:15671",
        "DUTIFUL_STORE__URL": "postgresql+psycopg://jobs:drawn@database/jobs?sslmode=verify-full",
    }
    assert [each.verdict for each in seen(there)] == ["ok"]
