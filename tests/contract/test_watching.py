"""What Prometheus, Alertmanager and Grafana are told fits the alerts, the owners, the dashboards and the manual."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "unit/deploy"))
import queries
from alert_cases import CASES
from queries import seconds

from deploy.local.folders import COMPOSE_FILE
from deploy.prometheus import __main__ as rules
from deploy.prometheus.alerts import OPERATIONS, alerts
from deploy.prometheus.thresholds import DASHBOARDS, RUNBOOKS, Thresholds
from scheduling.timetable import TIMETABLE
from workers.broker import setup_broker
from workers.settings import Settings

ROOT = Path(__file__).parents[2]
PROMETHEUS_FILE = ROOT / "deploy/prometheus/prometheus.yml"
PROMETHEUS = yaml.safe_load(PROMETHEUS_FILE.read_text())
ALERTMANAGER = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
COMPOSE = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
BOARDS = {document["uid"]: document for document in queries.DASHBOARDS}
PROVIDER, SOURCE = (
    yaml.safe_load((ROOT / "grafana/provisioning" / name).read_text())
    for name in ("dashboards/dutiful.yml", "datasources/prometheus.yml")
)
ALERTS = alerts(Thresholds())
MANUAL = (ROOT / "docs/operations.md").read_text()


# Prometheus


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus")
def test_prometheus_takes_its_configuration():
    command = ["promtool", "check", "config", "--lint=all", "--lint-fatal", str(PROMETHEUS_FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_prometheus_reads_the_rules_that_are_written_here_and_tells_alertmanager():
    assert PROMETHEUS["rule_files"] == [rules.FILE.name]
    (alertmanager,) = [job for job in PROMETHEUS["scrape_configs"] if job["job_name"] == "alertmanager"]
    assert PROMETHEUS["alerting"]["alertmanagers"][0]["static_configs"] == alertmanager["static_configs"]


@pytest.mark.parametrize("job", PROMETHEUS["scrape_configs"], ids=lambda job: job["job_name"])
def test_a_job_of_prometheus_is_named_for_its_service_and_watches_each_of_its_kind(job):
    targets = [target.split(":") for config in job["static_configs"] for target in config["targets"]]
    kind = job["job_name"].removesuffix("-queues")
    alike = {name for name in COMPOSE if re.fullmatch(rf"{kind}(-\d)?", name)}

    assert alike
    assert {name for name, _ in targets if name != "127.0.0.1"} in (alike, alike - {"prometheus"})
    for name, port in targets:
        described = COMPOSE[kind if name == "127.0.0.1" else name]
        assert any(each.endswith(f":{port}") for each in described["ports"])


# Alertmanager


def labels_of(alert):
    """The labels with which an alert comes to Alertmanager, as its cases have shown."""
    told = [found for case in CASES if case.alert == alert.name for found in case.fires.values()]
    own = {"alertname", *alert.rule()["labels"], *PROMETHEUS["global"]["external_labels"]}
    return own.union(*(labels for found in told for labels, _ in found))


LABELS = {alert.name: labels_of(alert) for alert in ALERTS}


def matched(matchers):
    """The alerts that matchers of Alertmanager choose by name, and the labels that these look at."""
    parts = dict(re.fullmatch(r'(\w+)(?:=|!=|=~)"(.*)"', each).groups() for each in matchers)
    pattern = parts.get("alertname", ".*")
    return {name for name in LABELS if re.fullmatch(pattern, name)}, parts.keys()


@pytest.mark.parametrize("rule", ALERTMANAGER["inhibit_rules"], ids=lambda rule: rule["source_matchers"][0])
def test_cause_and_consequence_both_have_the_labels_that_must_agree(rule):
    """Where one lacks the label, Alertmanager takes it for empty: it would agree with nothing, or with anything."""
    for side in ("source_matchers", "target_matchers"):
        names, looked_at = matched(rule[side])
        assert names
        for name in names:
            assert {*rule["equal"], *looked_at} <= LABELS[name], name


def test_a_cause_in_one_queue_holds_back_nothing_in_another():
    by_queue = {name for name, labels in LABELS.items() if "queue" in labels}
    for rule in ALERTMANAGER["inhibit_rules"]:
        causes, consequences = matched(rule["source_matchers"])[0], matched(rule["target_matchers"])[0]
        if causes | consequences <= by_queue:
            assert "queue" in rule["equal"], rule


def routes(route):
    yield route
    for each in route.get("routes", ()):
        yield from routes(each)


def test_routes_look_at_labels_and_values_that_alerts_have():
    common = set.intersection(*LABELS.values())
    environments = set(get_args(Settings.model_fields["environment"].annotation))
    values = {"severity": {alert.severity for alert in ALERTS}, "environment": environments, "owner": owners()}
    for route in routes(ALERTMANAGER["route"]):
        assert set(route.get("group_by", ())) <= common
        for label, value in (re.fullmatch(r'(\w+)!?="(.*)"', each).groups() for each in route.get("matchers", ())):
            assert label in common
            assert value in values[label]


def owners():
    """Whoever answers for a job or a schedule of the site, or for what belongs to none."""
    ours = [actor for actor in setup_broker().actors.values() if actor.fn.__module__.startswith("actors.")]
    return {actor.card.owner for actor in ours} | {schedule.owner for schedule in TIMETABLE} | {OPERATIONS}


def test_a_route_repeats_when_its_group_is_looked_at():
    """Alertmanager looks at a group each group_interval: another repeat_interval would be rounded up to that."""
    top = ALERTMANAGER["route"]
    for route in routes(top):
        interval, repeat = (seconds(route.get(key, top[key])) for key in ("group_interval", "repeat_interval"))
        assert repeat % interval == 0
        assert seconds(route.get("group_wait", top["group_wait"])) <= interval


def test_a_page_is_told_sooner_than_a_ticket_and_repeated_more_often():
    top = ALERTMANAGER["route"]
    page, ticket = (
        next(each for each in top["routes"] if f'severity="{severity}"' in each["matchers"])
        for severity in ("page", "ticket")
    )

    for key in ("group_wait", "repeat_interval"):
        assert seconds(page.get(key, top[key])) < seconds(ticket.get(key, top[key]))


def test_every_receiver_is_told_of_something():
    named = {route["receiver"] for route in routes(ALERTMANAGER["route"])}

    assert named == {receiver["name"] for receiver in ALERTMANAGER["receivers"]}


# Links


def grafana_links():
    """Each address that an alert or a dashboard leads to."""
    for alert in ALERTS:
        yield alert.name, alert.rule()["annotations"]["dashboard_url"]
    for uid, document in BOARDS.items():
        for panel in document["panels"]:
            for link in panel["fieldConfig"]["defaults"].get("links", ()):
                yield f"{uid}: {panel['title']}", link["url"]


LINKS = [pytest.param(url, id=name) for name, url in grafana_links() if not url.startswith(RUNBOOKS)]


def test_a_link_carries_on_what_its_panel_shows():
    """`${…}` is Grafana's: it fills in a label of the line, a field of the row, or the time that is shown."""
    for document in BOARDS.values():
        for panel in document["panels"]:
            shown = " ".join(target["legendFormat"] for target in panel["targets"])
            for link in panel["fieldConfig"]["defaults"].get("links", ()):
                for filled in re.findall(r"\$\{(.*?)\}", link["url"]):
                    kind, _, label = filled.rpartition(".")
                    assert (kind, label) == ("", "__url_time_range") or kind in {"__field.labels", "__data.fields"}
                    assert kind != "__field.labels" or f"{{{{{label}}}}}" in shown


@pytest.mark.parametrize("url", LINKS)
def test_a_link_leads_to_a_dashboard_and_chooses_what_can_be_chosen_there(url):
    there = urlsplit(re.sub(r"{{.*?}}", "x", url).replace("&${__url_time_range}", ""))
    document = BOARDS[there.path.removeprefix("/d/")]
    variables = {variable["name"] for variable in document["templating"]["list"]}

    assert {name.removeprefix("var-") for name in parse_qs(there.query)} <= variables
    assert all(name.startswith("var-") for name in parse_qs(there.query))


def test_the_dashboards_are_where_grafana_is_published():
    here = urlsplit(DASHBOARDS)

    assert any(each.startswith(f"{here.hostname}:{here.port}:") for each in COMPOSE["grafana"]["ports"])


def test_a_link_to_a_runbook_has_the_name_of_its_page():
    pages = {path.name for path in (ROOT / "docs/runbooks").glob("*.md")}
    for alert in ALERTS:
        folder, _, page = alert.rule()["annotations"]["runbook_url"].rpartition("/")
        assert folder == RUNBOOKS
        assert page in pages
    of_panels = {
        link["url"]
        for document in BOARDS.values()
        for panel in document["panels"]
        for link in panel["fieldConfig"]["defaults"].get("links", ())
        if link["url"].startswith(RUNBOOKS)
    }
    assert of_panels == {f"{RUNBOOKS}/${{__data.fields.alertname}}.md"}


@pytest.mark.parametrize("document", BOARDS.values(), ids=BOARDS)
def test_a_dashboard_leads_to_the_others_and_to_the_runbooks(document):
    others, runbooks = document["links"]

    assert all(others["tags"] == board["tags"] for board in BOARDS.values())
    assert (others["includeVars"], others["keepTime"]) == (True, True), (
        "who follows a link goes on with the same question"
    )
    assert runbooks["url"] == RUNBOOKS


# Grafana


def test_the_source_that_is_provisioned_is_one_that_the_dashboards_take():
    (source,) = SOURCE["datasources"]
    for document in BOARDS.values():
        kinds = {panel["datasource"]["type"] for panel in document["panels"]}
        kinds |= {each["query"] for each in document["templating"]["list"] if each["type"] == "datasource"}
        assert kinds == {source["type"]}
    assert source["isDefault"] is True
    assert source["access"] == "proxy", "browsers don't reach Prometheus"


def test_what_is_written_here_can_t_be_changed_or_deleted_on_the_page():
    (provider,) = PROVIDER["providers"]
    (source,) = SOURCE["datasources"]

    assert provider["type"] == "file"
    assert provider["disableDeletion"] is True
    assert provider["allowUiUpdates"] is False
    assert source["editable"] is False
    assert not any(document["editable"] for document in BOARDS.values())


# Of Grafana's manual, "Provision Grafana": what it does not know it passes over without a word.
WORDS = {
    "provider": {"name", "orgId", "folder", "folderUid", "type", "disableDeletion", "updateIntervalSeconds",
                 "allowUiUpdates", "options"},
    "source": {"name", "type", "access", "orgId", "uid", "url", "isDefault", "jsonData", "editable"},
    "jsonData": {"httpMethod", "timeInterval", "manageAlerts", "prometheusType", "prometheusVersion"},
    "options": {"path", "foldersFromFilesStructure"},
}  # fmt: skip


def test_grafana_knows_each_word_that_it_is_provisioned_with():
    (provider,), (source,) = PROVIDER["providers"], SOURCE["datasources"]

    assert {*PROVIDER, *SOURCE} == {"apiVersion", "providers", "datasources"}
    assert PROVIDER["apiVersion"] == SOURCE["apiVersion"]
    assert provider.keys() <= WORDS["provider"]
    assert provider["options"].keys() <= WORDS["options"]
    assert source.keys() <= WORDS["source"]
    assert source["jsonData"].keys() <= WORDS["jsonData"]
    assert source["jsonData"]["httpMethod"] in {"GET", "POST"}


def test_the_dashboards_are_in_one_folder_which_their_titles_name():
    (provider,) = PROVIDER["providers"]

    assert provider["options"]["foldersFromFilesStructure"] is False, "else Grafana refuses a folder of that name"
    assert all(document["title"].startswith(f"{provider['folder']} / ") for document in BOARDS.values())
    assert all(document["tags"] == [provider["folderUid"]] for document in BOARDS.values())


def test_who_answers_for_what_belongs_to_no_job_is_named_in_the_manual():
    assert f"what belongs to no job is the owner `{OPERATIONS}`" in " ".join(MANUAL.split())
