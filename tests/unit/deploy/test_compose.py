"""The compose file is read exactly, or refused."""

import re
from pathlib import Path

import pytest

from deploy.local import StackError, compose
from deploy.local.folders import COMPOSE_FILE
from deploy.setup import passwords

MINIMAL = """
services:
  job:
    image: dutiful:1
    command: sleep "1 2"
"""


OWN = dict.fromkeys(passwords.needed(COMPOSE_FILE), "secret")
LASTING = ("worker", "scheduler", "scheduler-2", "gateway")


def read(tmp_path: Path, text: str, **overrides):
    path = tmp_path / "docker-compose.yml"
    path.write_text(text)
    return compose.read(path, overrides)


def test_the_projects_own_compose_file_is_understood():
    services = compose.read(COMPOSE_FILE, own=OWN)
    ours = ["rabbitmq", "postgres", "migrate", "broker-setup", "queues", "doctor", *LASTING]
    assert compose.enabled(services, {}) == ours
    assert compose.enabled(services, {"COMPOSE_PROFILES": "monitoring"}) == [*ours, "prometheus", "alertmanager"]
    for name in LASTING:
        assert services[name].depends_on == {"doctor": "service_completed_successfully"}


def test_every_port_of_the_projects_own_compose_file_is_published_on_loopback_only():
    ports = re.findall(r"^ +- (\S+:\d+:\d+)", COMPOSE_FILE.read_text(), flags=re.MULTILINE)
    assert len(ports) == 11
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_workers_are_given_more_time_to_stop_than_they_ask_for():
    worker = compose.read(COMPOSE_FILE, own=OWN)["worker"]
    asked = int(worker.command[worker.command.index("--worker-shutdown-timeout") + 1]) / 1000
    assert worker.stop_grace_seconds > asked


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("    privileged: true", "privileged"),
        ("    healthcheck: {test: [CMD, 'true'], start_interval: 1s}", "start_interval"),
        ("    restart: sometimes", "sometimes"),
        ("    stop_grace_period: soon", "soon"),
        ("    environment: {DEBUG: true}", "DEBUG"),
        ("    depends_on: {job: {condition: service_happy}}", "service_happy"),
    ],
)
def test_what_it_does_not_understand_is_refused_by_name(tmp_path, line, named):
    with pytest.raises(StackError, match=named):
        read(tmp_path, MINIMAL + line)


def test_an_unknown_key_beside_the_services_is_refused(tmp_path):
    with pytest.raises(StackError, match="networks"):
        read(tmp_path, MINIMAL + "\nnetworks: {}\n")


def test_every_ignored_key_has_a_reason():
    assert all(len(reason) > 10 for reason in compose.IGNORED.values())


def test_a_command_in_one_string_is_split_as_a_shell_would(tmp_path):
    assert read(tmp_path, MINIMAL)["job"].command == ("sleep", "1 2")


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("${WORD:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY-default}", ""),
        ("${FULL:-default}", "full"),
        ("$FULL/$$FULL", "full/$FULL"),
        ("${WORD}", ""),
        ("${FROM_FILE:-default}", "file"),
    ],
)
def test_variables_are_filled_in_as_compose_does(tmp_path, monkeypatch, given, value):
    monkeypatch.setenv("FULL", "full")
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / ".env").write_text("# a comment\nFROM_FILE='file'\nFULL=not this one: the shell wins\n")
    assert read(tmp_path, MINIMAL + f"    environment: {{X: '{given}'}}")["job"].environment == {"X": value}


def test_a_variable_that_must_be_there_is_named_when_it_is_not(tmp_path):
    with pytest.raises(StackError, match=r"PASSWORD.*say which"):
        read(tmp_path, MINIMAL + "    environment: {X: '${PASSWORD:?say which}'}")


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("1m30s", 90), ("1h", 3600), ("500ms", 0.5), ("1.5s", 1.5)])
def test_durations_are_read(text, value):
    assert compose.seconds(text) == value


def test_a_service_of_a_profile_starts_only_where_the_profile_is_enabled(tmp_path):
    text = "services: {a: {image: dutiful}, b: {image: dutiful, profiles: [extra]}, c: {image: dutiful, profiles: [x]}}"
    services = read(tmp_path, text)

    assert compose.enabled(services, {}) == ["a"]
    assert compose.enabled(services, {"COMPOSE_PROFILES": "x, extra"}) == ["a", "b", "c"]
    assert compose.enabled(services, {"COMPOSE_PROFILES": "*"}) == ["a", "b", "c"]


def test_a_run_folder_s_own_variables_win_over_those_of_the_env_file(tmp_path):
    (tmp_path / ".env").write_text("WORD=from .env\n")
    path = tmp_path / "docker-compose.yml"
    path.write_text(MINIMAL + "    environment: {X: '${WORD:?needed}'}")

    assert compose.read(path)["job"].environment == {"X": "from .env"}
    assert compose.read(path, own={"WORD": "own"})["job"].environment == {"X": "own"}


def test_what_the_image_is_built_with_reaches_the_service(tmp_path):
    text = MINIMAL + "    build: {context: ., dockerfile: Dockerfile, args: {REVISION: abc}}"

    assert read(tmp_path, text)["job"].build_arguments == {"REVISION": "abc"}
    with pytest.raises(StackError, match="target"):
        read(tmp_path, MINIMAL + "    build: {target: x}")


def test_overrides_replace_a_command_and_add_to_the_environment(tmp_path):
    text = MINIMAL + "    environment: {A: a, B: b}"
    job = read(tmp_path, text, job={"command": ["true"], "environment": {"B": "new", "C": "c"}})["job"]
    assert job.command == ("true",)
    assert job.environment == {"A": "a", "B": "new", "C": "c"}


def test_an_override_for_a_service_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(StackError, match="jobb"):
        read(tmp_path, MINIMAL, jobb={"command": "true"})


def test_a_service_brings_what_it_depends_on_in_order():
    assert compose.with_dependencies(compose.read(COMPOSE_FILE, own=OWN), ["worker"]) == [
        "postgres",
        "migrate",
        "rabbitmq",
        "broker-setup",
        "queues",
        "doctor",
        "worker",
    ]


def test_services_that_wait_for_each_other_are_refused(tmp_path):
    text = "services: {a: {image: dutiful, depends_on: [b]}, b: {image: dutiful, depends_on: [a]}}"
    with pytest.raises(StackError, match=r"circle.*a → b → a"):
        compose.with_dependencies(read(tmp_path, text), ["a"])
