"""What the doctor says about settings that let strangers in, or listen."""

import os

import pytest

from tests.shell import Shell, decided
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
        for name in [name for name in os.environ if name.startswith("DUTIFUL_")]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return exposure(Settings.load())

    return look


@pytest.fixture
def shell(tmp_path):
    shell = Shell({}, tmp_path)
    shell.environment = {"DUTIFUL_USERS__WORKER_PASSWORD": "drawn"}
    return shell


def settings_of(shell):
    return {name: value for name, value in shell.environment.items() if name.startswith("DUTIFUL_")}


@pytest.mark.parametrize("case", CASES)
def test_a_door_that_is_open_is_named_with_what_closes_it(case, seen, shell):
    variables, what, received = CASES[case]

    (line,) = seen(variables)

    assert (line.verdict, line.what, line.received) == ("wrong", what, received)
    assert line.expected
    shell.environment |= variables
    if "private" in line.mend.lower():  # "# …; or, if no stranger can be on the way: COMMAND"
        shell.paste(decided(f"# {line.mend.partition('# ')[2]}"))
    else:
        shell.paste(line.mend.removeprefix("dutiful users declare; "))  # tests/integration/test_doctor.py runs all
    assert [each.verdict for each in seen(settings_of(shell))] == ["ok"]


def test_a_door_is_closed_by_what_a_line_says_first(seen, shell, tmp_path):
    (tmp_path / "ca.pem").touch()
    for case, filled in {
        "an open port for metrics": {},
        "PostgreSQL without a checked certificate": {"/PATH/TO/ca.pem": f"{tmp_path}/ca.pem"},
    }.items():
        shell.environment = CASES[case][0] | {}
        (line,) = seen(CASES[case][0])
        shell.paste(line.mend, **filled)
        assert [each.verdict for each in seen(settings_of(shell))] == ["ok"]
    for case, scheme in {"plain AMQP": "amqps://", "plain management": "https://"}.items():
        (line,) = seen(CASES[case][0])
        assert line.mend.startswith(f"# use {scheme}, as docs/security.md says; or, ")
        ((name, value),) = CASES[case][0].items()
        assert [each.verdict for each in seen({name: value.replace(line.received, scheme)})] == ["ok"]


def test_the_command_about_a_known_password_keeps_every_address(seen):
    (line,) = seen({"DUTIFUL_RABBITMQ__URL": "amqps://guest:x@one:5671/a%2Fb;amqps://u:p@two/a%2Fb"})

    assert line.mend == (
        'dutiful users declare; export DUTIFUL_RABBITMQ__URL="'
        "amqps://a%2Fb-worker:$DUTIFUL_USERS__WORKER_PASSWORD@one:5671/a%2Fb;"
        'amqps://a%2Fb-worker:$DUTIFUL_USERS__WORKER_PASSWORD@two/a%2Fb"'
    )


def test_a_known_password_is_no_better_on_a_private_network(seen):
    assert [each.verdict for each in seen(CASES["guest"][0] | {"DUTIFUL_PRIVATE_NETWORK": "true"})] == ["wrong"]


def test_an_empty_address_for_metrics_is_every_address(seen):
    assert [each.verdict for each in seen({"DUTIFUL_METRICS__HOST": ""})] == ["wrong"]


def test_what_is_shipped_is_for_loopback_and_leaves_nothing_open(seen):
    assert [each.verdict for each in seen({})] == ["ok"]
    there = {
        "DUTIFUL_RABBITMQ__URL": "amqps://jobs:drawn@broker/dutiful",
        "DUTIFUL_RABBITMQ__MANAGEMENT_URL": "https://broker:15671",
        "DUTIFUL_STORE__URL": "postgresql+psycopg://jobs:drawn@database/jobs?sslmode=verify-full",
    }
    assert [each.verdict for each in seen(there)] == ["ok"]
