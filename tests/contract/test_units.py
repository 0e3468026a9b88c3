"""deploy/systemd/ gives a host without containers what the containers get."""

import re
from pathlib import Path

import pytest
import yaml

from deploy.local.folders import COMPOSE_FILE

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
UNITS = {path.stem.removeprefix("dutiful-").removesuffix("@"): path for path in (ROOT / "deploy/systemd").iterdir()}
# What each is, or needs of its own.
OWN = {
    "Description",
    "Environment",
    "ExecStart",
    "TimeoutStopSec",
    "RestartPreventExitStatus",
    "ReadWritePaths",
    "MemoryMax",
    "CPUQuota",
}
OPERATIONS = (ROOT / "docs/operations.md").read_text()
RUNNING = (ROOT / "docs/running.md").read_text()


def settings(name):
    return dict(re.findall(r"^(\w+)=(.*)$", UNITS[name].read_text(), re.MULTILINE))


def test_the_units_of_a_host_differ_only_in_what_each_is():
    scheduler, worker = ({key: value for key, value in settings(name).items() if key not in OWN} for name in UNITS)

    assert scheduler == worker


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_has_no_right_that_its_container_has_not(name):
    said, container = settings(name), COMPOSE[name]

    assert container["cap_drop"] == ["ALL"]
    assert said["CapabilityBoundingSet"] == ""
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["read_only"]
    assert said["ProtectSystem"] == "strict"
    for key, value in said.items():
        if re.match("NoNew|Protect|Private|RestrictSUID|Lock", key) and key != "ProtectSystem":
            assert value == "true", key
    assert said["UMask"].endswith("7"), "what it writes is not for strangers"


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_runs_the_checkout_s_own_python_as_its_own_user(name):
    said = settings(name)

    assert said["ExecStart"].startswith(f"{said['WorkingDirectory']}/.venv/bin/")
    assert said["WorkingDirectory"] == f"/srv/{said['User']}"
    assert said["EnvironmentFile"] == f"/etc/{said['User']}.env"
    assert said["Description"] == f"{said['User']} {name}{' %i' * ('@' in UNITS[name].stem)}"
    comment = " ".join(re.findall(r"^# It needs (.*)$", UNITS[name].read_text(), re.MULTILINE))
    written = {f"/var/lib/{said['StateDirectory']}", said.get("ReadWritePaths", "-/tmp").removeprefix("-"), "/tmp"}
    assert set(re.findall(r"/[\w/]+\w", comment)) == written


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_waits_for_the_network_and_starts_with_the_host(name):
    said = settings(name)

    assert said["Wants"] == said["After"]
    assert {"network-online.target", "multi-user.target"} == {said["Wants"], said["WantedBy"]}


def test_a_unit_is_not_started_again_after_what_waiting_does_not_mend():
    worker, scheduler = re.search(r"Waiting mends none of (\d+ and \d+), nor (\d+) ", OPERATIONS).groups()
    lasting = re.findall(r"\d+", worker)

    assert settings("worker")["RestartPreventExitStatus"].split() == lasting
    assert settings("scheduler")["RestartPreventExitStatus"].split() == [*lasting, scheduler]


def test_the_names_of_units_in_their_own_comments_and_in_the_manual_are_those_of_the_files():
    names = {path.name.removesuffix(".service") for path in UNITS.values()}
    for text in (RUNNING, *(path.read_text() for path in UNITS.values())):
        assert {
            re.sub(r"@\d", "@", name) for name in re.findall(r"\bdutiful-(?:worker|scheduler)(?:@\d)?", text)
        } <= names
