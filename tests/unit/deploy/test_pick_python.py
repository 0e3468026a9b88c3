"""deploy/setup/pick-python takes each Python that the project supports, and no other."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PICKER = ROOT / "deploy/setup/pick-python"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LEAST, BELOW = map(int, re.findall(r"3\.(\d+)", PROJECT["requires-python"]))
SUPPORTED = range(LEAST, BELOW)
# Runs what it is given with the version that its name says.
STAND_IN = """#!{python} -S
import sys
sys.version_info = (3, {minor}, 0)
exec(sys.argv[2])
"""


@pytest.fixture
def install(tmp_path):
    """Put stand-ins of these versions on a PATH of their own: python3.11, …; `python` is the only python3."""

    def make(*minors, name="python3.{}"):
        for minor in minors:
            path = tmp_path / name.format(minor)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(STAND_IN.format(python=sys.executable, minor=minor))
            path.chmod(0o755)

    return make


def pick(tmp_path, **variables):
    environment = {"PATH": str(tmp_path), "VENV": str(tmp_path / "venv")} | variables
    return subprocess.run(
        ["/bin/sh", PICKER], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("minor", range(LEAST - 1, BELOW + 1))
def test_a_python_is_taken_if_the_project_supports_it(minor, install, tmp_path):
    install(minor, name="python3")

    assert (pick(tmp_path).returncode == 0) == (minor in SUPPORTED)


@pytest.mark.parametrize("minor", SUPPORTED)
def test_each_supported_python_is_found_by_its_own_name(minor, install, tmp_path):
    install(minor)

    assert pick(tmp_path).stdout == f"python3.{minor}\n"


def test_the_newest_is_taken_unless_there_is_a_virtual_environment_or_one_was_asked_for(install, tmp_path):
    install(*SUPPORTED)
    assert pick(tmp_path).stdout == f"python3.{SUPPORTED[-1]}\n"

    install(LEAST, name="venv/bin/python")
    assert pick(tmp_path).stdout == f"{tmp_path}/venv/bin/python\n"
    assert pick(tmp_path, PYTHON=f"python3.{LEAST}").stdout == f"python3.{LEAST}\n"


def test_a_python_that_complains_is_passed_over_in_silence(install, tmp_path):
    install(LEAST)
    broken = tmp_path / f"python3.{SUPPORTED[-1]}"
    broken.write_text("#!/bin/sh\necho no such version\necho no such version >&2\nexit 127\n")
    broken.chmod(0o755)
    done = pick(tmp_path)

    assert (done.stdout, done.stderr) == (f"python3.{LEAST}\n", "")


def test_without_a_name_for_it_the_virtual_environment_is_that_of_the_makefile(install, tmp_path):
    (default,) = re.findall(r"^VENV \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    install(LEAST, name=f"{default}/bin/python")

    assert pick(tmp_path, VENV="").stdout == f"{default}/bin/python\n"


def test_who_asked_for_one_that_does_not_fit_is_told_that_it_was_tried(install, tmp_path):
    install(*SUPPORTED)
    install(BELOW)
    done = pick(tmp_path, PYTHON=f"python3.{BELOW}")

    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"tried: +(.*)", done.stderr)[1] == f"python3.{BELOW}"


def test_who_has_none_is_told_which_would_fit_which_were_tried_and_what_to_install(tmp_path):
    done = pick(tmp_path)
    *others, last = (f"3.{minor}" for minor in SUPPORTED)

    assert done.returncode == 1
    assert not done.stdout
    assert done.stderr.startswith("No Python that fits")
    assert f"Python {', '.join(others)} or {last}\n" in done.stderr.replace("Python  ", "Python ")
    tried = re.search(r"tried: +(.*)", done.stderr)[1].split()
    assert tried == [*(f"python3.{minor}" for minor in reversed(SUPPORTED)), "python3"]
    assert f"python@{last}" in done.stderr
