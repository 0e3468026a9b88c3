"""docs/operations.md names what the code has: metrics, log events, exit statuses, settings, commands."""

import ast
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from typer.main import get_command

from actors.settings import SiteSettings
from deploy.local.__main__ import parser
from scheduling import metrics as schedulers
from workers import cli
from workers import metrics as workers
from workers.cli import letter_page
from workers.gateway import metrics as gateways
from workers.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()
SOURCES = [path for package in ("workers", "actors", "scheduling") for path in (ROOT / package).rglob("*.py")]


def section(title):
    """The text under a heading."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert match, f"docs/operations.md has no section {title}"
    return match[1]


def rows(title):
    """The cells of each row of a section's tables, without the head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0].startswith("`")]


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def defined(module):
    """Each metric of a module: its labels, by the name that Prometheus shows."""
    metrics = [value for value in vars(module).values() if isinstance(value, MetricWrapperBase)]
    return {
        metric._name + ("_total" if metric._type == "counter" else ""): (metric._type, metric._labelnames)
        for metric in metrics
    }


def test_every_metric_is_described_with_its_kind_and_labels_and_no_other():
    described = {names(row[0])[0]: (row[1], tuple(names(row[2]))) for row in rows("Metrics")}

    assert described == defined(workers) | defined(schedulers) | defined(gateways)


def events():
    """Every event that is logged by name; job_… comes from the verdicts."""
    found = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                said = node.args[0]
                level = node.func.attr in {"debug", "info", "warning", "error", "critical"}
                if level and isinstance(said, ast.Constant) and re.fullmatch(r"[a-z]+(_[a-z]+)+", str(said.value)):
                    found.add(said.value)
    verdicts = re.search(
        r"^Verdict = Literal\[(.*?)\]", (ROOT / "workers/delivery.py").read_text(), re.DOTALL | re.MULTILINE
    )
    return found | {f"job_{verdict}" for verdict in re.findall(r'"(\w+)"', verdicts[1])}


def test_every_log_event_is_described_and_no_other():
    assert {name for row in rows("Logs") for name in names(row[0])} == events()


def test_every_exit_status_of_ours_is_described_and_no_other():
    code = "\n".join(source.read_text() for source in SOURCES)
    ours = {int(number) for number in re.findall(r"^_EXIT_\w+: Final = (\d+)$", code, re.MULTILINE)}

    assert {int(names(row[0])[0]) for row in rows("Exit statuses") if int(names(row[0])[0]) >= 64} == ours


def test_no_exit_status_has_two_meanings():
    code = "\n".join(source.read_text() for source in SOURCES)
    meanings = set(re.findall(r"^(_EXIT_\w+): Final = (\d+)$", code, re.MULTILINE))
    numbers = [number for _, number in meanings]

    assert sorted(numbers) == sorted(set(numbers)), meanings


def test_every_setting_that_is_named_exists():
    known = Settings.variables().keys() | SiteSettings.variables().keys()
    named = set(re.findall(r"\b(?:DUTIFUL|SITE)_[A-Z_]*[A-Z]", PAGE))

    assert {name.removesuffix("_FILE") for name in named} <= known


def commands():
    """Every line of a block of commands."""
    return [
        line.strip()
        for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
    ]


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("dutiful ")])
def test_a_command_that_is_shown_exists(command):
    words = command.partition("#")[0].split()[1:]
    found = get_command(cli.app)
    while hasattr(found, "commands"):
        found = found.commands[words.pop(0)]
    options = {option for parameter in found.params for option in parameter.opts}

    assert {word for word in words if word.startswith("--")} <= options


def test_every_command_of_the_operators_is_shown():
    groups = get_command(cli.app).commands
    existing = {f"dutiful {noun} {verb}" for noun, group in groups.items() for verb in getattr(group, "commands", [""])}

    assert all(any(line.startswith(command) for line in commands()) for command in existing)


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("make ")])
def test_a_target_that_is_shown_exists(command):
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert command.split()[1] in targets


@pytest.mark.parametrize("command", [line for line in commands() if "-m deploy.local " in line])
def test_a_command_of_the_local_stack_that_is_shown_exists(command):
    words = command.partition("#")[0].split("-m deploy.local ")[1].split()

    parser().parse_args(words)


def test_the_times_are_those_of_the_compose_file():
    worker = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["worker"]
    timeout = int(worker["command"][worker["command"].index("--worker-shutdown-timeout") + 1]) // 1000

    assert f"{timeout} s" in section("Stop")
    assert f"{worker['stop_grace_period'].removesuffix('s')} s" in section("Stop")


def test_the_page_about_a_dead_letter_names_a_section_that_is_there():
    document, _, anchor = letter_page.RUNBOOK.partition("#")
    headings = re.findall(r"^## (.*)$", (ROOT / document).read_text(), re.MULTILINE)

    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
