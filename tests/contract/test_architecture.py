"""docs/ describes the house as it is."""

import re
from pathlib import Path

import pytest

from workers.broker import setup_broker

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
DOCUMENTS = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
DECISIONS = sorted((ROOT / "docs/adr").glob("*.md"))


def section(title):
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]


def test_the_order_of_middleware_is_the_one_that_runs():
    described = re.findall(r"^\d+\. `(\w+)`", section("Middleware"), re.MULTILINE)

    assert described == [type(middleware).__name__ for middleware in setup_broker().middleware]


def test_every_room_of_the_runtime_is_on_the_map():
    rooms = {
        path.stem + "/" * path.is_dir() for path in (ROOT / "workers").iterdir() if not path.name.startswith("__p")
    }
    drawn = set(re.findall(r"(?<![\w/])[a-z_]+/?(?![\w/])", section("Code map")))

    assert rooms <= drawn


def test_the_overview_stays_one():
    assert len(PAGE.splitlines()) <= 160


def anchors(document):
    """The anchor of each heading, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_leads_somewhere(document):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text()):
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_decisions_are_numbered_without_a_gap():
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_number_and_its_four_parts(decision):
    text = decision.read_text()

    assert text.startswith(f"# {decision.name[:4]} ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Status", "Context", "Decision", "Consequences"]
    assert 20 <= len(text.splitlines()) <= 40
