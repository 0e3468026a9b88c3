"""Every alert has a runbook, and what a runbook says can be pasted exists."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from deploy.prometheus.alerts import alerts
from deploy.prometheus.recordings import recordings
from deploy.prometheus.thresholds import Thresholds
from workers import cli

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs/runbooks").glob("*.md"))}
NAMES = {alert.name for alert in alerts(Thresholds())}
PARTS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "How to know it is over"]
# Programs that are not ours: of a shell, of RabbitMQ, of Prometheus.
PROGRAMS = {"curl", "ps", "rabbitmq-diagnostics", "promtool", "amtool", "periodiq"}


def commands():
    """Every line that can be pasted."""
    for page, text in PAGES.items():
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            yield from ((page, line) for line in block.splitlines())
        yield from ((page, line) for line in re.findall(r"`(dutiful [a-z-]+ [a-z-]+)`", text))


COMMANDS = sorted(set(commands()))


def test_every_alert_has_a_runbook_and_no_other_has_one():
    assert PAGES.keys() == NAMES


@pytest.mark.parametrize("page", PAGES)
def test_a_runbook_has_its_five_parts_in_order(page):
    assert PAGES[page].startswith(f"# {page}\n")
    assert re.findall(r"^## (.*)$", PAGES[page], re.MULTILINE) == PARTS


@pytest.mark.parametrize(("page", "command"), [each for each in COMMANDS if each[1].startswith("dutiful ")])
def test_a_command_with_its_options_exists(page, command):
    words = command.split()[1:]
    found = get_command(cli.app)
    while hasattr(found, "commands"):
        found = found.commands[words.pop(0)]
    options = {option for parameter in found.params for option in parameter.opts}

    assert {word for word in words if word.startswith("--")} <= options


def test_no_other_program_is_asked_for():
    assert {command.split()[0] for _, command in COMMANDS} <= PROGRAMS | {"dutiful"}


def test_every_metric_that_a_runbook_names_is_one_that_a_rule_or_the_page_of_operations_knows():
    known = (ROOT / "docs/operations.md").read_text() + str(recordings(Thresholds()))
    named = {name for text in PAGES.values() for name in re.findall(r"`(dutiful_\w+)`", text)}

    assert named
    assert all(name in known for name in named)


@pytest.mark.parametrize("page", PAGES)
def test_a_health_reason_that_is_shown_is_one_that_is_described(page):
    described = (ROOT / "docs/operations.md").read_text()
    for reason in re.findall(r'"worker \d+:? (jobs wait in|has been silent for)', PAGES[page]):
        assert reason in described
