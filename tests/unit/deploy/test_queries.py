"""What rules and dashboards ask for is there: metrics, labels, values and buckets of the code, jobs of Prometheus."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

sys.path.insert(0, str(Path(__file__).parent))
from alert_cases import CASES
from queries import DASHBOARDS, ROOT, RULES, expressions, grouped, seconds, selectors, targets, times

from scheduling import metrics as schedulers
from workers import counters, metrics
from workers.middleware import time_limit
from workers.store import pauses
from workers.transport import topology

PROMETHEUS = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
QUERIES = [pytest.param(expr, id=name) for name, expr in dict(expressions()).items()]
TARGET = {"instance", "job"}
"""Labels that Prometheus gives to whatever it scrapes."""
SCRAPES_IN_A_WINDOW = 4  # fewer, and one scrape that fails leaves no two to compare


def defined():
    """The labels of each series of ours, by the name that Prometheus shows; the buckets of each histogram."""
    labels, buckets = {}, {}
    for metric in [*vars(metrics).values(), *vars(schedulers).values()]:
        if isinstance(metric, MetricWrapperBase):
            name, own = metric._name, set(metric._labelnames) | TARGET
            if metric._type == "histogram":
                labels |= {f"{name}_bucket": own | {"le"}, f"{name}_count": own, f"{name}_sum": own}
                buckets[f"{name}_bucket"] = {str(float(each)) for each in metric._kwargs["buckets"]}
            else:
                labels[name + ("_total" if metric._type == "counter" else "")] = own
    return labels, buckets


def known():
    """The labels of each series that a query may name."""
    fired = set().union(*(labels for case in CASES for found in case.fires.values() for labels, _ in found))
    alerts = {label for rule in ALERTS.values() for label in rule["labels"]} | fired | {"alertname", "alertstate"}
    recorded = {rule["record"]: grouped(rule["expr"]) for rule in RULES if "record" in rule}
    return defined()[0] | recorded | {"ALERTS": alerts, "up": TARGET}


KNOWN, BUCKETS = known(), defined()[1]


@pytest.mark.parametrize("expr", QUERIES)
def test_a_query_names_metrics_and_labels_that_there_are(expr):
    asked = [each for each in selectors(expr) if not each.metric.startswith("rabbitmq_")]
    labels = {"queue", "vhost"} | TARGET if "rabbitmq_" in expr else set()

    assert {each.metric for each in asked} <= KNOWN.keys()
    for each in asked:
        assert {label for label, _, _ in each.matchers} <= KNOWN[each.metric], each
        labels |= KNOWN[each.metric]
    assert grouped(expr) <= labels


def test_the_cases_of_alerts_are_about_metrics_with_labels_that_there_are():
    for series in {series for case in CASES for series in case.series}:
        (each,) = selectors(series)
        if not each.metric.startswith("rabbitmq_"):
            assert {label for label, _, _ in each.matchers} <= KNOWN[each.metric], series


VALUES = {
    ("dutiful_jobs_finished_total", "outcome"): counters._FINISHED,
    ("dutiful_time_limits_total", "kind"): set(time_limit._KINDS),
    ("dutiful_paused", "kind"): set(get_args(pauses.Kind)),
    ("ALERTS", "alertname"): ALERTS.keys(),
    ("ALERTS", "alertstate"): {"pending", "firing"},
}
JOBS = {job["job_name"] for job in PROMETHEUS["scrape_configs"]}


def values(metric, label):
    """What a label of a metric can be."""
    if label == "job":
        return JOBS
    return BUCKETS[metric] if label == "le" else VALUES[metric, label]


@pytest.mark.parametrize("expr", QUERIES)
def test_a_query_chooses_by_values_that_there_are(expr):
    for each in selectors(expr):
        for label, how, value in each.matchers:
            if "$" in value or label == "queue":
                continue
            there = values(each.metric, label)
            if how in {"=", "!="}:
                assert value in there, each
            else:
                assert all(any(re.fullmatch(part, name) for name in there) for part in value.split("|")), each


WORK = {"content", "site"}
QUEUES = {
    "work queues": WORK,
    "dead queues": {topology.dead_queue(queue) for queue in WORK},
    "the delay ladder": {topology.level(number) for number in range(topology.LEVELS)},
    "undeliverable": {topology.UNDELIVERABLE},
    "parked": {topology.parked_queue("content.import_feed")},
}


@pytest.mark.parametrize("expr", [each for each in QUERIES if "rabbitmq_detailed" in each.values[0]])
def test_a_query_about_queues_chooses_all_of_a_kind_and_no_other(expr):
    everything = set().union(*QUEUES.values())
    for each in selectors(expr):
        if not each.metric.startswith("rabbitmq_"):
            continue
        chosen = everything
        for label, how, value in each.matchers:
            if "$" not in value:
                assert label == "queue"
                agrees = {name for name in chosen if re.fullmatch(value, name) or value == name}
                chosen = chosen - agrees if how.startswith("!") else agrees
        assert chosen in QUEUES.values(), each


# Of RabbitMQ's manual, "Prometheus": what each family of /metrics/detailed brings.
FAMILIES = {
    "queue_coarse_metrics": {"messages_ready", "messages_unacked", "messages"},
    "queue_consumer_count": {"consumers"},
}


def test_prometheus_asks_rabbitmq_for_what_queries_name_and_for_no_more():
    (detailed,) = [job for job in PROMETHEUS["scrape_configs"] if "params" in job]
    named = {each.metric for _, expr in expressions() for each in selectors(expr)}
    asked = {name.removeprefix("rabbitmq_detailed_queue_") for name in named if name.startswith("rabbitmq_detailed")}

    assert set(detailed["params"]["family"]) == FAMILIES.keys()
    assert asked <= set().union(*FAMILIES.values())
    assert all(asked & brings for brings in FAMILIES.values())


def test_a_series_counts_as_new_for_as_long_as_its_growth_is_looked_at():
    """A series with a rare label is born with its first count, which increase() can't see: grafana/panels.py."""
    looks = re.compile(r"increase\((\S+)\[(\w+)\]\) > 0 or \(\1 unless \1 offset (\w+)\)")
    found = [looks.search(expr) for _, expr in expressions() if "increase(" in expr and " unless " in expr]

    assert found
    assert all(window == back for _, window, back in (look.groups() for look in found))


@pytest.mark.parametrize("expr", QUERIES)
def test_a_window_holds_scrapes_enough_to_compare(expr):
    least = SCRAPES_IN_A_WINDOW * seconds(PROMETHEUS["global"]["scrape_interval"])

    assert all(each >= least for each in times(expr))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus")
def test_prometheus_understands_every_query_of_the_dashboards(tmp_path):
    marks = [mark["expr"] for document in DASHBOARDS for mark in document["annotations"]["list"]]
    found = [re.sub(r"\$\{?\w+\}?", "5m", expr) for expr in [*marks, *(expr for _, _, expr, _ in targets())]]
    rules = [{"record": f"panel:number_{place}", "expr": expr} for place, expr in enumerate(found)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("document", "panel", "expr", "legend"),
    [pytest.param(*each, id=f"{each[0]['uid']}: {each[1]['title']} {each[3]}".strip()) for each in targets()],
)
def test_a_legend_and_a_choice_name_what_the_query_leaves(document, panel, expr, legend):
    variables = {each["name"] for each in document["templating"]["list"]}
    outermost = re.search(r" by \(([^)]*)\)", expr)
    left = set(re.split(", ", outermost[1])) - {"le"} if outermost else TARGET

    assert set(re.findall(r"{{(\w+)}}", legend)) <= left
    assert set(re.findall(r"\$(\w+)", expr)) - {"__rate_interval"} <= variables
    if panel["type"] == "timeseries":
        assert legend, "without a legend a line has no name"


@pytest.mark.parametrize("document", DASHBOARDS, ids=lambda document: document["uid"])
def test_what_can_be_chosen_is_a_label_of_the_metric_that_offers_it_and_changes_a_panel(document):
    shown = " ".join(target["expr"] for panel in document["panels"] for target in panel["targets"])
    for variable in document["templating"]["list"][1:]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
        assert label == variable["name"]
        assert label in KNOWN[metric]
        assert f'{label}=~"${label}"' in shown


def test_the_mark_of_a_deployment_is_drawn_once():
    for document in DASHBOARDS:
        (mark,) = document["annotations"]["list"]
        assert times(mark["expr"]) == {seconds(mark["step"])}, "it is new for one step"
        assert set(re.findall(r"{{(\w+)}}", mark["titleFormat"])) <= grouped(mark["expr"])
