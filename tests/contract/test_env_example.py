""".env.example and the settings say the same."""

import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

import pytest
import yaml
from annotated_types import Ge, Le
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from actors.settings import SiteSettings
from workers.settings import Settings, Tree

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / ".env.example"
VARIABLE = re.compile(r"#([A-Z][A-Z0-9_]*)=(.*)")
TREES = (Settings, SiteSettings)


def entries(text):
    """Each variable: what the comment above it says, and the value that it shows."""
    found = {}
    said = []
    for line in text.splitlines():
        if line.startswith("# "):
            said.append(line.removeprefix("# "))
        elif match := VARIABLE.fullmatch(line):
            assert match[1] not in found, f"{match[1]} is there twice"
            found[match[1]] = (" ".join(said), match[2])
            said = []
        else:
            assert line in {"", "#"}, f"neither a comment nor a variable: {line!r}"
            said = []
    return found


def fields(tree: type[Tree]):
    for name, path in tree.variables().items():
        model: type[BaseModel] = tree
        for group in path[:-1]:
            model = model.model_fields[group].annotation
        yield name, model.model_fields[path[-1]]


def written(default):
    if default is None or default is PydanticUndefined:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return default.get_secret_value() if isinstance(default, SecretStr) else str(default)


def comment(field):
    """What must be said about a field: its description, then what it may be."""
    told = [field.description]
    kinds = get_args(field.annotation) if get_origin(field.annotation) in {Union, types.UnionType} else ()
    for kind in (field.annotation, *kinds):
        if get_origin(kind) is Literal:
            told.append(f"one of {', '.join(get_args(kind))}")
        if kind is bool:
            told.append("true or false")
    low = next((limit.ge for limit in field.metadata if isinstance(limit, Ge)), None)
    high = next((limit.le for limit in field.metadata if isinstance(limit, Le)), None)
    if high is not None:
        told.append(f"{low} to {high}")
    elif low is not None:
        told.append(f"at least {low}")
    return "; ".join(told)


def compose_variables():
    """Each ${NAME:-default} of the compose file, ${NAME:?without one}, and what switches its profiles on."""
    found = {"COMPOSE_PROFILES": ""}

    def visit(node):
        if isinstance(node, dict):
            node = list(node.values())
        if isinstance(node, list):
            for each in node:
                visit(each)
        elif isinstance(node, str):
            for name, default in re.findall(r"(?<!\$)\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", node):
                assert found.setdefault(name, default) == default, f"{name} has two defaults"

    visit(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))
    return found


SETTINGS = {name: field for tree in TREES for name, field in fields(tree)}


def test_every_variable_is_there_and_no_other():
    assert set(entries(EXAMPLE.read_text())) == SETTINGS.keys() | compose_variables().keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_shown_with_its_default_and_in_its_own_words(name):
    assert entries(EXAMPLE.read_text())[name] == (comment(SETTINGS[name]), written(SETTINGS[name].default))


@pytest.mark.parametrize("name", compose_variables())
def test_a_variable_of_the_compose_file_is_shown_with_its_default(name):
    said, default = entries(EXAMPLE.read_text())[name]

    assert said
    assert default == compose_variables()[name]


def test_a_shell_can_read_it_and_nothing_changes(tmp_path):
    lines = [f"{name}={value}\n" for name, (_, value) in entries(EXAMPLE.read_text()).items() if value]
    (tmp_path / ".env").write_text("".join(lines))
    (tmp_path / "compare.py").write_text(COMPARE)

    subprocess.run(
        ["sh", "-c", f"set -a; . ./.env; set +a; exec '{sys.executable}' compare.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
    )


COMPARE = """
import os
from actors.settings import SiteSettings
from workers.settings import Settings

for tree in (Settings, SiteSettings):
    told = tree.load()
    given = [name for name in tree.variables() if os.environ.pop(name, None) is not None]
    assert given, "the shell passed nothing on"
    assert told == tree.load()
"""


def test_no_line_of_it_takes_effect_when_it_is_copied():
    assert all(line.startswith("#") or not line for line in EXAMPLE.read_text().splitlines())
