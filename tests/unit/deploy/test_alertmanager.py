"""Alertmanager tells the right people, and tells them once."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.prometheus.alerts import alerts
from deploy.prometheus.thresholds import Thresholds

ROOT = Path(__file__).parents[3]
FILE = ROOT / "deploy/alertmanager/alertmanager.yml"
RULES = yaml.safe_load(FILE.read_text())["inhibit_rules"]
ALERTS = alerts(Thresholds())

needs_amtool = pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool comes with Alertmanager")


def amtool(*words):
    return subprocess.run(["amtool", *words], capture_output=True, text=True, check=False)


@needs_amtool
def test_alertmanager_takes_the_file():
    done = amtool("check-config", str(FILE))

    assert done.returncode == 0, done.stderr


@needs_amtool
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("severity=page owner=operations environment=production", "page-operations"),
        ("severity=page owner=content environment=production", "page-content"),
        ("severity=page owner=nobody-knows environment=production", "page-operations"),
        ("severity=ticket owner=content environment=production", "tickets"),
        ("severity=page owner=operations environment=staging", "quiet"),
        ("severity=page owner=content environment=development", "quiet"),
        ("severity=ticket owner=operations environment=staging", "quiet"),
        ("severity=none owner=operations environment=staging", "watchdog"),
        ("severity=none owner=operations environment=production", "watchdog"),
    ],
)
def test_who_is_told(labels, receiver):
    done = amtool("config", "routes", "test", f"--config.file={FILE}", *labels.split())

    assert done.stdout.strip() == receiver


def names(matchers):
    """The alerts that a rule's matchers name."""
    pattern = next(re.search(r'alertname=~?"(.+)"', each)[1] for each in matchers if "alertname" in each)
    return {alert.name for alert in ALERTS if re.fullmatch(pattern, alert.name)}, pattern


@pytest.mark.parametrize("side", ["source_matchers", "target_matchers"])
def test_every_name_of_an_inhibition_is_an_alert(side):
    for rule in RULES:
        found, pattern = names(rule[side])
        assert len(found) == pattern.count("|") + 1, pattern


def test_nothing_inhibits_itself_or_its_own_cause():
    explains = {
        (cause, effect)
        for rule in RULES
        for cause in names(rule["source_matchers"])[0]
        for effect in names(rule["target_matchers"])[0]
        if "severity" not in str(rule["target_matchers"])
    }

    assert not {(cause, effect) for cause, effect in explains if (effect, cause) in explains}


def test_what_one_environment_suffers_inhibits_nothing_in_another():
    assert all("environment" in rule["equal"] for rule in RULES)
