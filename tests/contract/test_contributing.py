"""CONTRIBUTING.md's five steps lead to a job that runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: title=(?P<file>\S+))?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
JOB = "content.forget_rejections"


def blocks():
    return [match.groupdict() for match in BLOCK.finditer((ROOT / "CONTRIBUTING.md").read_text())]


def changed(text, diff):
    """The text with each part of the diff replaced; parts are separated by an empty line."""
    for part in diff.strip("\n").split("\n\n"):
        lines = part.splitlines()
        old = "\n".join(line[1:] for line in lines if line[0] in " -")
        new = "\n".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(old) == 1, f"the diff changes a place that is not there: {old!r}"
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A copy of the repository in which somebody has followed the five steps."""
    copy = tmp_path_factory.mktemp("copy")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for block in blocks():
        if block["file"] is None:
            continue
        file = copy / block["file"]
        if block["kind"] == "diff":
            file.write_text(changed(file.read_text(), block["text"]))
        else:
            assert not file.exists(), f"{block['file']} is there already; the steps are about a new file"
            file.write_text(block["text"])
    return copy


def run(followed, *command):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DUTIFUL_", "SITE_"))}
    environment = {"PYTHONPATH": str(followed), "DUTIFUL_RABBITMQ__URL": "memory://"}
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=followed,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_are_five_steps():
    numbers = re.findall(r"^(\d)\. \*\*", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)

    assert numbers == ["1", "2", "3", "4", "5"]


def test_the_test_of_the_new_job_passes_with_the_command_that_is_shown(followed):
    (commands,) = [block["text"].splitlines() for block in blocks() if block["kind"] == "sh"]
    (command,) = [line.split() for line in commands if line.startswith("pytest ")]

    assert "1 passed" in run(followed, *command)


def test_the_new_job_is_listed_with_its_card(followed):
    (listed,) = [
        each for each in json.loads(run(followed, "dutiful", "actors", "list", "--json")) if each["actor"] == JOB
    ]
    shown = json.loads(run(followed, "dutiful", "actors", "show", JOB, "--json"))

    assert listed["owner"] == "content"
    assert listed["queue"] == "content"
    assert all(shown[said] for said in ("owner", "expects", "rollback"))


def test_the_new_schedule_is_in_the_timetable(followed):
    program = "from scheduling.timetable import TIMETABLE as t; print(*(f'{s.name} {s.actor.actor_name}' for s in t))"

    assert f"tidy-weekly {JOB}" in run(followed, "python", "-c", program)


def test_what_the_steps_say_would_pass_the_checks(followed):
    written = [block["file"] for block in blocks() if block["file"]]

    run(followed, "ruff", "check", *written)
    run(followed, "ruff", "format", "--check", *written)
