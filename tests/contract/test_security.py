"""docs/security.md names what there is: files, tests, settings, users, and what a publisher's password can't do."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from actors.settings import SiteSettings
from workers.settings import Settings
from workers.users import ROLES, VHOST, user

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
CHECKLIST = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("## Checklist")[2].partition("\n## ")[0].splitlines()[4:]
    if line.startswith("|") and not line.startswith("| **")
]


def section(title):
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]


def functions(path):
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", CHECKLIST, ids=lambda row: row[0])
def test_each_point_is_set_and_tested_where_it_says(row):
    _, where, tested = row
    files, tests = (re.findall(r"`([^`]+)`", cell) for cell in (where, tested))

    assert files
    assert tests
    for name in files:
        assert (ROOT / name).is_file(), name
    for name in tests:
        path, _, function = name.partition("::")
        assert function in functions(ROOT / path), name


def test_the_checklist_has_every_part():
    assert re.findall(r"^\| \*\*(.*?)\*\*", PAGE, re.MULTILINE) == [
        "Permissions",
        "Secrets",
        "TLS",
        "Messages",
        "Headers",
        "Sizes",
        "Logging",
        "Ports",
        "Supply chain",
    ]


def test_every_setting_that_is_named_exists():
    known = Settings.variables().keys() | SiteSettings.variables().keys()

    assert {name.removesuffix("_FILE") for name in re.findall(r"\b(?:DUTIFUL|SITE)_[A-Z_]*[A-Z]", PAGE)} <= known


def test_the_users_and_their_passwords_are_those_of_the_definitions():
    told = re.findall(r"^\| `(\S+)` \| `(\S+)` \|", section("Users of RabbitMQ"), re.MULTILINE)

    assert told == [(user(VHOST, role), f"RABBITMQ_{role.upper()}_PASSWORD") for role in ROLES]


def test_what_a_publisher_can_t_do_is_what_the_test_tries():
    tree = ast.parse((ROOT / "tests/integration/test_users.py").read_text())
    tried = {
        key.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in {"NEVER", "READS", "OWNS", "LETTERS"}
        for key in node.value.keys
    }
    cannot = " ".join(section("Who has a publisher's password").partition("can't:")[2].split())

    assert tried
    assert not {words for words in tried if words not in cannot}


def packages_of(name):
    """Each package of a lock file, with its hashes and who asked for it."""
    return re.split(r"^(?=[a-zA-Z0-9])", (ROOT / name).read_text(), flags=re.MULTILINE)[1:]


def test_the_image_is_built_with_the_very_files_that_development_has():
    """Of each package the version, the words of pip, and the hashes; who asked for it may differ."""
    building, developing = (
        {re.sub(r"^ *#.*\n?", "", each, flags=re.MULTILINE) for each in packages_of(name)}
        for name in ("deploy/build.lock", "requirements-dev.lock")
    )

    assert building
    assert building <= developing


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "deploy/build.lock"])
def test_every_package_is_locked_with_its_hashes(name):
    packages = packages_of(name)

    assert packages
    for package in packages:
        assert re.match(r"[\w.\[\]-]+==\S+", package), package[:80]
        assert "--hash=sha256:" in package, package[:80]
    assert "--require-hashes" in (ROOT / "deploy/Dockerfile").read_text()
    assert '"--require-hashes"' in (ROOT / "deploy/setup/environment.py").read_text()


def test_images_have_versions_and_ours_is_not_run_by_root():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    foreign = [each["image"] for each in services.values() if "build" not in each]

    assert foreign
    for image in [*foreign, *re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)]:
        assert re.search(r":v?\d+\.\d+", image), image
    last = dockerfile.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)", last, re.MULTILINE)[-1] != "root"
