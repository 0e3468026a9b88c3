"""Set-up finishes what it began, and costs nothing the second time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

# Stands in for apt: brings a service that starts at boot, and takes its time.
APT_GET = """#!/bin/sh
[ "$1" = install ] || exit 0
mkdir -p {root}/lib/systemd/system {root}/etc/systemd/system/multi-user.target.wants
touch {root}/lib/systemd/system/newcomer.service
ln -s /lib/systemd/system/newcomer.service {root}/etc/systemd/system/multi-user.target.wants/newcomer.service
{root}/usr/sbin/policy-rc.d --quiet newcomer start; echo "started: $?" >> {root}/apt.log
sleep 1
echo finished >> {root}/apt.log
"""
INSTALL = """
import sys
from pathlib import Path
from deploy.setup import quiet_install
with quiet_install.undisturbed():
    sys.exit(quiet_install.install(["newcomer"], Path(sys.argv[1])))
"""


@pytest.fixture
def root(tmp_path):
    """A root of a system on which apt, dpkg and systemctl are stand-ins."""
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for name, text in {
        "apt-get": APT_GET.format(root=tmp_path),
        "dpkg": "#!/bin/sh\n",
        "systemctl": "#!/bin/sh\n",
    }.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def install(root):
    environment = {**os.environ, "PATH": f"{root / 'bin'}:/usr/bin:/bin"}
    command = [sys.executable, "-c", INSTALL, str(root)]
    return subprocess.Popen(command, env=environment, cwd=CHECKOUT, start_new_session=True)


def wait_for_text(path, text):
    deadline = time.monotonic() + 20
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, f"{path.name} never said {text}"
        time.sleep(0.02)


def leftovers(root):
    wants = root / "etc/systemd/system/multi-user.target.wants"
    return [*wants.glob("*"), *(root / "usr/sbin").glob("policy-rc.d*")]


def test_ctrl_c_in_the_middle_leaves_no_service_started_or_enabled(root):
    with install(root) as installing:
        wait_for_text(root / "apt.log", "started")
        os.killpg(installing.pid, signal.SIGINT)
        os.killpg(installing.pid, signal.SIGINT)
    assert (root / "apt.log").read_text() == "started: 101\nfinished\n"
    assert leftovers(root) == []


def test_what_a_killed_installation_left_is_put_right_by_the_next_one(root):
    with install(root) as installing:
        wait_for_text(root / "apt.log", "started")
        installing.kill()
    wait_for_text(root / "apt.log", "finished")
    assert len(leftovers(root)) == 2
    (root / "bin/apt-get").write_text("#!/bin/sh\n")  # nothing is left to install
    with install(root):
        pass
    assert leftovers(root) == []


@pytest.mark.timeout(900)
def test_a_second_set_up_takes_no_time():
    subprocess.run(["make", "setup"], cwd=CHECKOUT, env={**os.environ, "YES": "1"}, check=True)
    for target in ("setup", ".run/setup.stamp"):
        began = time.monotonic()
        done = subprocess.run(["make", target], cwd=CHECKOUT, capture_output=True, text=True, check=True)
        assert time.monotonic() - began < 10, "the first takes a minute"
        assert "complete already" in done.stdout or "up to date" in done.stdout
