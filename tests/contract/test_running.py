"""docs/running.md names services, times, events and commands that there are."""

import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from scheduling import scheduler
from workers import cli
from workers.settings import Settings
from workers.transport import subscription, topology

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/running.md").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def section(title, page=PAGE):
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)[1]


def rows(title):
    lines = [line for line in section(title).splitlines() if line.startswith("|")][2:]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)}


def seconds(service):
    return COMPOSE[service]["stop_grace_period"].replace("s", " s")


def option(service, name):
    command = [str(word) for word in COMPOSE[service]["command"]]
    return int(command[command.index(name) + 1])


def test_the_times_of_stopping_are_those_that_hold():
    said = {who: cells[0] for who, cells in rows("How long stopping takes").items()}
    settings = Settings.model_fields["worker"].annotation.model_fields

    assert said["jobs that run"] == f"{settings['grace_seconds'].default:g} s"
    assert said["Dramatiq, for its threads"] == f"{option('worker', '--worker-shutdown-timeout') // 1000} s"
    assert said["the container, or systemd, for a worker"] == seconds("worker")
    assert said["a scheduler, for its tick"] == f"{scheduler.GRACE.seconds} s"
    assert said["the container, or systemd, for a scheduler"] == seconds("scheduler")
    assert said["the gateway, for its answers"] == f"{option('gateway', '--timeout-graceful-shutdown')} s"
    assert said["the container, for the gateway"] == seconds("gateway")
    assert said["RabbitMQ and PostgreSQL"] == seconds("rabbitmq") == seconds("postgres")


def test_prefetch_and_delivery_limit_are_those_of_the_code():
    said = section("Prefetch")

    assert f"{subscription._DEEP_FETCHED}\nfor each thread" in said
    assert f"delivery limit of {topology.DELIVERY_LIMIT}" in said


def test_each_log_event_is_judged_and_no_other():
    described = set(re.findall(r"^\| `([a-z_]+)` \|", section("Logs", OPERATIONS), re.MULTILINE))
    judged = {event for cell in rows("What a log event means") for event in re.findall(r"`([a-z_]+)`", cell)}

    assert judged == described


def commands():
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("docker compose")])
def test_a_service_that_is_deployed_by_hand_is_in_the_compose_file(command):
    words = command.partition(" sh -c ")[0].partition(" dutiful ")[0].split()
    named = [word for word in words[3:] if not word.startswith("-")]

    assert named
    assert set(named) <= COMPOSE.keys()


def test_a_deployment_by_hand_replaces_everything_that_runs_our_image():
    ours = {name for name, each in COMPOSE.items() if each["image"] == COMPOSE["worker"]["image"]}

    assert ours <= set(re.findall(r"[\w-]+", " ".join(commands())))


def test_every_command_of_ours_that_is_named_exists():
    for words in re.findall(
        r"`?dutiful ([a-z]+(?:-[a-z]+)*)((?: [a-z]+)?)", "\n".join([*commands(), *re.findall(r"`[^`\n]+`", PAGE)])
    ):
        group = get_command(cli.app).commands[words[0]]
        verbs = getattr(group, "commands", None)
        assert verbs is None or words[1].strip() in verbs, words


def test_every_unit_that_is_restarted_exists():
    units = {path.name.split("@")[0].removesuffix(".service") for path in (ROOT / "deploy/systemd").iterdir()}

    assert set(re.findall(r"systemctl restart ([\w-]+)", PAGE)) == units


def test_every_setting_that_is_named_exists():
    assert set(re.findall(r"\bDUTIFUL_[A-Z_]*[A-Z]", PAGE)) <= Settings.variables().keys()


def test_the_memory_that_stops_publishers_is_the_one_that_is_configured():
    (watermark,) = re.findall(
        r"^vm_memory_high_watermark\.absolute = (\d+)GB$",
        (ROOT / "deploy/rabbitmq/rabbitmq.conf").read_text(),
        re.MULTILINE,
    )

    assert f"`vm_memory_high_watermark`, {watermark} GB in `deploy/rabbitmq/rabbitmq.conf`" in PAGE


def test_the_write_ahead_log_is_as_large_as_the_one_that_was_measured():
    (size,) = re.findall(
        r"^raft\.wal_max_size_bytes = (\d+)$", (ROOT / "deploy/rabbitmq/rabbitmq.conf").read_text(), re.MULTILINE
    )

    assert f"the write-ahead log takes once ({int(size) // 1_000_000} MB)" in " ".join(PAGE.split())
