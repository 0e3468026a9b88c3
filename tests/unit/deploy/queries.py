"""Takes queries of Prometheus apart: which metrics they name, which labels, which values, which times."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from deploy.prometheus import __main__ as written
from deploy.prometheus.thresholds import Thresholds

ROOT = Path(__file__).parents[3]
DASHBOARDS = [json.loads(path.read_text()) for path in sorted((ROOT / "grafana/dashboards").glob("*.json"))]
RULES = [rule for group in written.document(Thresholds())["groups"] for rule in group["rules"]]
OPERATORS = {"and", "or", "unless", "bool", "offset"}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_STRING = r'"[^"]*"'
_SELECTOR = re.compile(rf"(?<![\w:$\"])([a-zA-Z_:][\w:]*)(?:{{((?:[^{{}}\"]|{_STRING})*)}})?(?!\w)(?!\s*\()")
_GROUPING = re.compile(r"\b(by|on|ignoring|without|group_left|group_right)\s*\(([^)]*)\)")


@dataclass(frozen=True)
class Selector:
    """One metric in a query, and by what its series are chosen: label, operator, value."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...] = ()


def seconds(duration):
    """Of a duration as Prometheus writes it."""
    return sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration))


def grouped(expr):
    """Each label by which a query groups, joins or names anew."""
    found = {label.strip() for _, labels in _GROUPING.findall(expr) for label in labels.split(",")} - {""}
    renamed = re.findall(rf"({_STRING}), {_STRING}, ({_STRING}), {_STRING}\)", expr)  # of label_replace
    return found | {label.strip('"') for pair in renamed for label in pair}


def selectors(expr):
    """Each metric that a query names."""
    bare = re.sub(r"\[[\d$][^\]]*\]|\boffset \w+", "", _GROUPING.sub(" ", expr))
    bare = re.sub(rf"((?:, {_STRING}){{4}})\)", ")", bare)  # of label_replace
    for metric, matchers in _SELECTOR.findall(bare):
        if metric not in OPERATORS:
            parts = re.findall(rf"(\w+)(=~|!~|!=|=)({_STRING})", matchers)
            yield Selector(metric, tuple((label, how, value.strip('"')) for label, how, value in parts))


def times(expr):
    """Each window and each step back of a query, in seconds; what Grafana chooses is left out."""
    found = [part for window in re.findall(r"\[([\d$][^\]]*)\]", expr) for part in window.split(":")]
    found += re.findall(r"\boffset (\w+)", expr)
    return {seconds(each) for each in found if "$" not in each}


def targets():
    """Each query of a dashboard: the dashboard, its panel, the query and its legend."""
    for document in DASHBOARDS:
        for panel in document["panels"]:
            for target in panel["targets"]:
                yield document, panel, target["expr"], target["legendFormat"]


def expressions():
    """Every query of the rules and the dashboards, with a name."""
    for rule in RULES:
        yield rule.get("record") or "-".join([rule["alert"], rule["labels"].get("window", "")]).strip("-"), rule["expr"]
    for document, panel, expr, legend in targets():
        yield f"{document['uid']}: {panel['title']} {legend}".strip(), expr
    for document in DASHBOARDS:
        for annotation in document["annotations"]["list"]:
            yield f"{document['uid']}: {annotation['name']}", annotation["expr"]
