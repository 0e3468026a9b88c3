"""The committed dashboards are what the code writes, and each panel says what good looks like."""

import json
import re
import warnings
from pathlib import Path

import pytest
import yaml

from deploy.prometheus import __main__ as rules
from deploy.prometheus.alerts import alerts
from deploy.prometheus.thresholds import Thresholds
from scheduling import metrics as schedulers
from workers import metrics

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana import __main__ as written

ROOT = Path(__file__).parents[3]
COMMITTED = {path.name: path.read_text() for path in sorted(written.FOLDER.glob("*.json"))}
DASHBOARDS = {name: json.loads(text) for name, text in COMMITTED.items()}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}") for name, each in DASHBOARDS.items() for panel in each["panels"]
]
# Nobody looks at these: what they are for is said in docs/operations.md.
UNUSED = set()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_committed_dashboards_are_those_that_the_code_writes():
    assert written.files() == COMMITTED, "make dashboards"


def expressions(document):
    return [target["expr"] for panel in document["panels"] for target in panel["targets"]]


def test_every_metric_is_in_a_panel_or_in_a_rule():
    defined = {
        metric._name + {"counter": "_total", "histogram": "_bucket"}.get(metric._type, "")
        for metric in [*vars(metrics).values(), *vars(schedulers).values()]
        if hasattr(metric, "_labelnames")
    }
    shown = " ".join(each for document in DASHBOARDS.values() for each in expressions(document))
    known = shown + rules.text(Thresholds())

    assert {name for name in defined if not re.search(rf"\b{name}\b", known)} == UNUSED


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_has_a_source_an_environment_and_the_marks_of_deployments(name):
    document = DASHBOARDS[name]
    variables = [variable["name"] for variable in document["templating"]["list"]]

    assert variables[:2] == ["datasource", "environment"]
    assert document["editable"] is False
    assert [each["name"] for each in document["annotations"]["list"]] == ["Deployments"]
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_good_looks_like_and_has_a_unit_and_the_chosen_source(panel):
    assert "Good: " in panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["noValue"] == "0"
    assert panel["datasource"]["uid"] == "${datasource}"
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("name", DASHBOARDS)
def test_no_panel_lies_over_another(name):
    taken = set()
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_dashboard_that_an_alert_leads_to_is_there():
    there = {document["uid"] for document in DASHBOARDS.values()}

    assert {alert.dashboard for alert in alerts(Thresholds())} <= there


def test_the_panels_that_runbooks_name_are_there():
    titles = {panel["title"] for each in DASHBOARDS.values() for panel in each["panels"]}
    titles |= {document["title"].removeprefix("Dutiful / ") for document in DASHBOARDS.values()}
    for page in (ROOT / "docs/runbooks").glob("*.md"):
        for title in re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", page.read_text()):
            assert title in titles, f"{page.name}: {title}"


def test_grafana_finds_the_dashboards_where_the_compose_file_puts_them():
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    provider = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/dutiful.yml").read_text())["providers"][0]
    source = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]

    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in service["volumes"]
    assert source["url"] == "${PROMETHEUS_URL}"
    assert service["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"
