"""What panels, alerts and runbooks say in words is what their queries ask for."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from queries import DASHBOARDS, ROOT, RULES, SECONDS, seconds, selectors, targets, times
from typer.main import get_command

from deploy.prometheus.__main__ import document
from deploy.prometheus.thresholds import Thresholds
from workers import cli, exposition

ALERTS = [rule for rule in RULES if "alert" in rule]
PANELS = [
    pytest.param(panel, id=f"{dashboard['uid']}: {panel['title']}")
    for dashboard in DASHBOARDS
    for panel in dashboard["panels"]
]
OPERATIONS = " ".join((ROOT / "docs/operations.md").read_text().split())
COUNTED = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "ten": 10, "fifteen": 15}
FRACTIONS = {"half an hour": "30 minutes", "a quarter of an hour": "15 minutes", "a tenth": "10 %", "twice": "2 times"}
MONTH = 30 * SECONDS["d"]


def spoken(text):
    """Each amount that a text names: times in seconds, shares from 0 to 1, and counts."""
    text = " ".join(text.split())
    for words, plain in FRACTIONS.items():
        text = re.sub(words, plain, text, flags=re.IGNORECASE)
    text = re.sub(r"(?:last|the) (hour|minute)\b", r"1 \1", text)
    word = "|".join(COUNTED)
    for digits, counted, unit in re.findall(rf"\b(?:(\d[\d.]*) ?|({word}) )(%|[a-z]+)", text, re.IGNORECASE):
        number = float(digits or COUNTED[counted.lower()])
        if unit == "%":
            yield number / 100
        elif unit in {"s", "m", "h", "d"} or re.fullmatch("(?:second|minute|hour|day)s?", unit):
            yield number * SECONDS[unit[0]]
        elif unit in {"of", "times", "periods", "restarts", "jobs"}:
            yield number


def asked(expr):
    """Each number and each time of a query."""
    numbers = {float(each) for each in re.findall(r"(?<![\w.\[])\d+(?:\.\d+)?(?![\w.])", expr)}
    return numbers | times(expr)


def meaning(alert):
    page = (ROOT / f"docs/runbooks/{alert}.md").read_text()
    return re.search(r"^## Meaning\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)[1]


@pytest.mark.parametrize("name", sorted({rule["alert"] for rule in ALERTS}))
def test_each_number_in_the_meaning_of_a_runbook_is_one_of_its_rule(name):
    rules = [rule for rule in ALERTS if rule["alert"] == name]
    read = [each["expr"] for each in RULES if any(each.get("record", "-") in rule["expr"] for rule in rules)]
    held = {seconds(rule.get("for", "")) for rule in rules}

    assert set(spoken(meaning(name))) <= held.union(*(asked(expr) for expr in [*read, *(r["expr"] for r in rules)]))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: "-".join([rule["alert"], rule["labels"].get("window", "")]))
def test_each_number_that_an_alert_says_is_one_of_its_rule(rule):
    read = [each["expr"] for each in RULES if each.get("record", "-") in rule["expr"]]
    said = re.sub(r"{{.*?}}", "", rule["annotations"]["description"])

    assert set(spoken(said)) <= set().union(*(asked(expr) for expr in [*read, rule["expr"]]))


@pytest.mark.parametrize("panel", PANELS)
def test_each_time_that_a_panel_says_is_one_of_its_query(panel):
    asks = set().union(*(asked(target["expr"]) for target in panel["targets"]))
    said = f"{panel['title']}. {panel['description'].partition('Good:')[0]}"
    shares = {float(share) / 100 for share in re.findall(r"\b(\d+) of 100", said)}

    assert shares <= asks
    assert {each for each in spoken(re.sub(r"\d+ of 100", "", said)) if each >= SECONDS["m"]} <= asks
    if re.search(r"\[\d", " ".join(target["expr"] for target in panel["targets"])):
        windows = set().union(*(times(target["expr"]) for target in panel["targets"]))
        assert windows & set(spoken(said)), "over which time?"


def test_what_never_happened_is_shown_as_0():
    assert all(shown == "0" for _, _, expr, _ in targets() for shown in re.findall(r"vector\((.*?)\)", expr))


def test_a_quantile_has_its_name():
    for _, panel, expr, legend in targets():
        level = re.search(r"histogram_quantile\(([\d.]+)", expr)
        if level and re.fullmatch(r"p\d+", legend):
            assert float(level[1]) == float(legend[1:]) / 100, panel["title"]


UNITS = {"_seconds": "s", "_bytes": "bytes"}


def unit(expr):
    """What a query counts in, by the names of its metrics."""
    measured = {each.metric.removesuffix("_bucket") for each in selectors(expr)} - {"dutiful_build_info"}
    own = {UNITS.get(re.search(r"_[a-z]+$", name)[0], "short") for name in measured if "_" in name} or {"short"}
    if "changes(" in expr:
        return "short"
    if "histogram_quantile" not in expr and re.search(r"\brate\(", expr):
        return "short" if "_sum" in expr else "percentunit" if " / " in expr else "ops"
    return "percentunit" if " / " in expr else own.pop()


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_the_unit_of_what_it_shows(panel):
    assert {unit(target["expr"]) for target in panel["targets"]} == {panel["fieldConfig"]["defaults"]["unit"]}


def colour(panel, value):
    """Of a number, as Grafana picks it."""
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return [step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]


@pytest.mark.parametrize("panel", [each for each in PANELS if each.values[0]["type"] == "stat"])
def test_a_number_that_is_good_is_green_and_another_is_not(panel):
    said = panel["description"].partition("Good: ")[2]
    below, amount, unit = re.match(r"(below )?([\d.]+?)(?: ?(s|%)|)(?=[.,]|$)", said).groups()
    good = float(amount) / (100 if unit == "%" else 1)
    step = 0.01 if panel["fieldConfig"]["defaults"]["unit"] == "percentunit" else 1

    if below:
        assert colour(panel, 0) == "green"
        assert colour(panel, good * 0.999) != "red"
        assert colour(panel, good) in {"orange", "red"}
    else:
        assert colour(panel, good) == "green"
        if "and one an instance" not in said:
            assert {colour(panel, good - step), colour(panel, good + step)} != {"green"}


@pytest.mark.parametrize("panel", PANELS)
def test_a_number_that_a_panel_explains_is_the_good_one(panel):
    explained = re.match(r"(\d+): ", panel["description"])

    assert not explained or f"Good: {explained[1]}" in panel["description"]


def test_lines_that_are_drawn_for_an_objective_are_the_objectives():
    drawn = {
        panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]
        for dashboard in DASHBOARDS
        for panel in dashboard["panels"]
        if panel["type"] == "timeseries" and panel["fieldConfig"]["defaults"].get("thresholds")
    }

    assert drawn == {"Wait": Thresholds().slow_wait, "Oldest job": Thresholds().oldest_job}


def test_a_worker_is_silent_on_a_dashboard_when_it_is_so_for_its_health_and_later_for_who_is_on_call():
    (panel,) = [each.values[0] for each in PANELS if each.values[0]["title"] == "Last seen"]

    assert f"Good: below {exposition._SILENT_AFTER_SECONDS:g}." in panel["description"]
    assert Thresholds().silent > exposition._SILENT_AFTER_SECONDS


@pytest.mark.parametrize("panel", PANELS)
def test_a_command_that_a_panel_names_exists(panel):
    for words in re.findall(r"\bdutiful ([a-z-]+) ([a-z-]+)((?: --[a-z-]+)*)", panel["description"]):
        command = get_command(cli.app).commands[words[0]].commands[words[1]]
        assert set(words[2].split()) <= {option for parameter in command.params for option in parameter.opts}


# How the rules hang together


def test_a_fast_burn_wakes_somebody_and_a_slow_one_waits_for_the_day():
    """As docs/runbooks/DutifulErrorBudgetBurn.md says: the budget of a month is gone in days, or before its end."""
    for burn in Thresholds().burns:
        gone = MONTH / burn.factor
        assert {True: "page", False: "ticket"}[gone <= 7 * SECONDS["d"]] == burn.severity
        assert gone <= MONTH
        assert burn.factor * Thresholds().failed_share < 1, "it could never fire"


def test_the_short_window_of_a_burn_is_still_hot_when_its_alert_has_lasted():
    for burn in Thresholds().burns:
        assert seconds(burn.long) == 12 * seconds(burn.short)
        assert seconds(burn.lasts) <= seconds(burn.short) / 2


def test_less_is_spent_before_somebody_is_told_where_it_goes_faster():
    spent = [burn.factor * seconds(burn.long) / MONTH for burn in Thresholds().burns]

    assert spent == sorted(spent)
    assert spent[0] > 0.01
    assert spent[-1] <= 0.1


def test_what_lasts_is_looked_at_more_than_once():
    for group in document(Thresholds())["groups"]:
        every = seconds(group["interval"])
        for rule in group["rules"]:
            for key in ("for", "keep_firing_for"):
                assert seconds(rule.get(key, "0s")) % every == 0
                assert rule.get(key) is None or seconds(rule[key]) > every


def test_the_alerts_of_outages_go_on_for_as_long_as_the_manual_says():
    (said,) = re.findall(r"The alerts of outages \(.*?\) resolve (\w+) minutes after their end", OPERATIONS)
    lasting = COUNTED[said] * SECONDS["m"]
    kept = {rule["alert"] for rule in ALERTS if seconds(rule.get("keep_firing_for", "")) == lasting}

    assert kept == {"DutifulRabbitmqDown", "DutifulStoreDown", "DutifulWorkersDown"}


def test_what_counts_over_a_time_is_told_for_as_long():
    counting = [rule for rule in ALERTS if re.search(r"(?:delta|increase|changes)\([^)]*\[\d+m\]", rule["expr"])]

    assert counting
    assert all(seconds(rule["keep_firing_for"]) in times(rule["expr"]) for rule in counting)
