"""Every alert fires, stays quiet and resolves as its cases say; promtool and amtool judge."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from alert_cases import CASES

from deploy.prometheus import __main__ as written
from deploy.prometheus.alerts import alerts
from deploy.prometheus.thresholds import Thresholds

ALERTS = {(alert.name, alert.labels.get("window")): alert for alert in alerts(Thresholds())}
NAMES = {name for name, _ in ALERTS}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus")


def expected(name, labels, description):
    """A firing alert as promtool expects it."""
    rule = ALERTS[name, labels.get("window")].rule()

    def filled(text):
        return re.sub(r"{{ \$labels\.(\w+) }}", lambda match: labels[match[1]], text)

    return {
        "exp_labels": rule["labels"] | labels,
        "exp_annotations": {key: filled(text) for key, text in rule["annotations"].items()}
        | {"description": description},
    }


def story(case):
    """A case as promtool reads it."""
    looks = {minute: [expected(case.alert, *each) for each in fired] for minute, fired in case.fires.items()}
    looks |= {minute: [] for minute in case.quiet}
    return {
        "name": f"{case.alert}: {case.about}",
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": [
            {"eval_time": f"{round(minute * 60)}s", "alertname": case.alert, "exp_alerts": fired}
            for minute, fired in sorted(looks.items())
        ],
    }


def needed(document, name):
    """The rules of one alert, and the recordings that it reads; the others only cost time."""
    recordings, rules = (group["rules"] for group in document["groups"])
    own = [rule for rule in rules if rule["alert"] == name]
    read = [rule for rule in recordings if any(rule["record"] in each["expr"] for each in own)]
    return {"groups": [{"name": "recordings", "rules": read}, {"name": "alerts", "rules": own}]}


def promtool(folder, document, name):
    """Exit status and words of `promtool test rules` for one alert."""
    (folder / "rules.yml").write_text(yaml.safe_dump(needed(document, name)))
    tests = [story(case) for case in CASES if case.alert == name]
    cases = {"rule_files": ["rules.yml"], "evaluation_interval": "30s", "tests": tests}
    (folder / "cases.yml").write_text(yaml.safe_dump(cases, sort_keys=False))
    done = subprocess.run(
        ["promtool", "test", "rules", "cases.yml"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_committed_rules_are_those_that_the_code_writes():
    assert written.FILE.read_text() == written.text(Thresholds()), "make dashboards"


@needs_promtool
def test_prometheus_takes_the_rules_and_finds_nothing_to_say_about_them():
    command = ["promtool", "check", "rules", "--lint=all", "--lint-fatal", str(written.FILE)]

    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0


@needs_promtool
@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_alert_fires_stays_quiet_and_resolves_as_its_cases_say(name, tmp_path):
    status, said = promtool(tmp_path, yaml.safe_load(written.FILE.read_text()), name)

    assert status == 0, said


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet():
    assert {case.alert for case in CASES if case.fires} == NAMES
    assert {case.alert for case in CASES if case.quiet} == NAMES - {"DutifulWatchdog"}


def test_every_alert_resolves_in_one_of_its_cases():
    resolved = {case.alert for case in CASES if case.fires and case.quiet and max(case.quiet) > max(case.fires)}

    assert resolved == NAMES - {"DutifulWatchdog"}


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: "-".join([alert.name, *alert.labels.values()]))
def test_an_alert_says_who_and_how_urgent_and_has_no_number_in_its_summary(alert):
    rule = alert.rule()

    assert alert.severity in {"page", "ticket", "none"}
    assert bool(alert.owner_by) != ("owner" in rule["labels"])
    assert not any("$value" in text for text in rule["labels"].values())
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert "$value" not in rule["annotations"]["summary"]


def changed(value):
    """Values that are clearly not the threshold."""
    if value == 0:
        return [10.0, -1.0]
    return [type(value)(value * 3), type(value)(value / 3)]


def mutations():
    """Thresholds, each changed in one place."""
    usual = Thresholds()
    for field in dataclasses.fields(usual):
        value = getattr(usual, field.name)
        if field.name == "burns":
            for number, burn in enumerate(value):
                for factor in changed(float(burn.factor)):
                    burns = [*value[:number], dataclasses.replace(burn, factor=factor), *value[number + 1 :]]
                    yield f"burns[{number}]={factor:g}", dataclasses.replace(usual, burns=tuple(burns))
        else:
            for other in changed(value):
                yield f"{field.name}={other:g}", dataclasses.replace(usual, **{field.name: other})


def some(found):
    """All of them as proof; else every seventh."""
    return found if os.environ.get("PROOF") else found[::7]


@needs_promtool
@pytest.mark.parametrize("mutation", some(list(mutations())), ids=lambda mutation: mutation[0])
def test_a_threshold_that_is_changed_breaks_a_case(mutation, tmp_path):
    usual, other = (written.document(chosen) for chosen in (Thresholds(), mutation[1]))
    affected = [name for name in NAMES if needed(usual, name) != needed(other, name)]

    assert affected
    assert any(promtool(tmp_path, other, name)[0] == 1 for name in affected)
