"""Rules that hold for the whole tree, each said once in docs/architecture.md."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import workers

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path.relative_to(ROOT) for package in ("workers", "actors", "scheduling") for path in (ROOT / package).rglob("*.py")
)
LONGEST = 250
# One class that answers all of Dramatiq's broker interface; it may get shorter.
SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "base", "core", "misc", "constants", "types", "tasks"}
READS_THE_ENVIRONMENT = {Path("workers/environment.py")}
# prometheus_client and a test's own settings can be told in no other way.
TOUCHES_THE_ENVIRONMENT = READS_THE_ENVIRONMENT | {Path("workers/exposition.py"), Path("workers/testing.py")}


def per_module(test):
    return pytest.mark.parametrize("module", MODULES, ids=str)(test)


def tree(module):
    return ast.parse((ROOT / module).read_text())


def attributes(module):
    """Every attribute that the module names, such as os.environ."""
    return {ast.unparse(node) for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}


def imported(module):
    """Every name that the module imports from another, such as os.environ."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


@per_module
def test_only_the_settings_read_the_environment(module):
    asked = {
        name for name in attributes(module) | imported(module) if name in {"os.environ", "os.getenv", "os.environb"}
    }

    assert not asked or module in TOUCHES_THE_ENVIRONMENT


def test_the_exceptions_touch_only_what_they_are_excepted_for():
    exposition = (ROOT / "workers/exposition.py").read_text()
    testing = (ROOT / "workers/testing.py").read_text()

    assert set(re.findall(r"os\.environ\[(.*?)\]|(\w+) in os\.environ", exposition)) == {
        ("_SHARED", ""),
        ("", "_SHARED"),
    }
    assert '_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"' in exposition
    assert "def pytest_configure" in testing


@per_module
def test_the_order_of_middleware_is_one_list(module):
    added = [
        node
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute) and node.attr == "add_middleware" and "super()" not in ast.unparse(node)
    ]

    assert not added, "put it into build_middleware in workers/broker.py"


@per_module
def test_a_module_begins_with_one_sentence(module):
    docstring = ast.get_docstring(tree(module))
    assert docstring, "the first line says what the module is for"
    first, _, rest = docstring.partition("\n")

    # A colon may stand for "and these are they".
    assert re.fullmatch(r"[^.!?]+(?:\.\w[^.!?]*)*[.]", first), first
    assert not rest or rest.startswith("\n"), "an empty line follows the sentence"


@per_module
def test_a_module_fits_on_a_few_screens(module):
    assert len((ROOT / module).read_text().splitlines()) <= LONGEST


@per_module
def test_a_module_is_named_for_what_is_in_it(module):
    assert not SAY_NOTHING & {*module.parent.parts, module.stem}


def test_tests_have_no_package_that_could_hide_the_real_one():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_name_of_the_front_door_is_hidden_by_a_module():
    assert workers.__all__
    assert not [name for name in workers.__all__ if find_spec(f"workers.{name}")]
