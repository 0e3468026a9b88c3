"""README.md tells the truth: its job runs, and its commands work in a fresh clone."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import end_with_the_parent

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"^```python title=(\S+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.partition("#")[0].strip()
]
# The clone's own test run takes a sample: all of the tests are what runs this one. It names files, since to read all
# files in each of its processes costs more than the rest of this test.
SAMPLE = "-q tests/unit/workers/test_settings.py tests/unit/actors/test_sitemap.py tests/contract/test_env_example.py"
LASTING = ("dramatiq", "periodiq")


def copy_of_the_repository(folder):
    """What a clone of the next commit would hold."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def plain_environment():
    """The shell's, without anything of ours and outside this virtual environment."""
    own = {"VIRTUAL_ENV", "PYTHONPATH", "PYTEST_CURRENT_TEST", "MAKEFLAGS", "MAKELEVEL", "BREAK", "KEEP", "VENV"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in own and not name.startswith(("DUTIFUL_", "SITE_"))
    }
    path = [each for each in kept["PATH"].split(os.pathsep) if not each.startswith(str(ROOT))]
    return kept | {"PATH": os.pathsep.join(path)}


def test_the_first_screen_has_the_two_commands():
    first_screen = "\n".join(README.splitlines()[:45])

    assert [command for command in COMMANDS[:2] if command in first_screen] == ["make demo", "make test"]


def test_the_job_and_its_test_are_as_short_as_a_page_promises():
    assert [name for name, _ in PYTHON] == ["actors/unpublishing.py", "tests/unit/actors/test_unpublishing.py"]
    job, test = (len([line for line in code.splitlines() if line.strip()]) for _, code in PYTHON)
    assert job <= 12
    assert test <= 6


def test_the_job_of_the_readme_passes_its_test(tmp_path):
    clone = copy_of_the_repository(tmp_path)
    for name, code in PYTHON:
        (clone / name).write_text(code)

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", PYTHON[1][0]],
        cwd=clone, env=plain_environment() | {"PYTHONPATH": str(clone)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout


@pytest.mark.clone
@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_command_of_the_readme_works_in_a_fresh_clone(tmp_path, rabbitmq):
    clone = copy_of_the_repository(tmp_path / "clone")
    subprocess.run(["git", "init", "-q"], cwd=clone, check=True)
    environment = plain_environment() | {
        "YES": "1",
        "POSTS": "300",
        "PYTEST_ADDOPTS": SAMPLE,
        "DUTIFUL_RABBITMQ__URL": rabbitmq,
        "DUTIFUL_METRICS__PORT": "0",
        "PATH": f"{clone}/.venv/bin{os.pathsep}{plain_environment()['PATH']}",
    }
    for command in COMMANDS:
        if command.startswith(("export ", ". ")):
            continue  # what they set is in the environment already: the address of a broker that exists
        if command.startswith(LASTING):
            run_for_a_while(command, clone, environment)
            continue
        run = subprocess.run(
            ["/bin/sh", "-c", command], cwd=clone, env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, f"{command}\n{run.stdout[-4000:]}\n{run.stderr[-4000:]}"


def run_for_a_while(command, folder, environment):
    """Start what runs until it is stopped, see it ready, and stop it as people do."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            shlex.split(command),
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=end_with_the_parent,  # noqa: PLW1509  it takes no lock that another thread could hold
        )
    try:
        deadline = time.monotonic() + 30
        while not re.search("ready for action|scheduler_started", log.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
