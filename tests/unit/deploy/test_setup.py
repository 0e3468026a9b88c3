"""Set-up decides right on machines that are not this one."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from deploy.setup import quiet_install, servers
from deploy.setup.system import CannotInstall, Machine

DEBIAN_ROOT = Machine(has_apt=True, has_homebrew=False, is_root=True, has_sudo=False, has_terminal=False)
DEBIAN_SUDO = Machine(has_apt=True, has_homebrew=False, is_root=False, has_sudo=True, has_terminal=True)
DEBIAN_GUEST = Machine(has_apt=True, has_homebrew=False, is_root=False, has_sudo=False, has_terminal=True)
MAC = Machine(has_apt=False, has_homebrew=True, is_root=False, has_sudo=True, has_terminal=True)
ELSEWHERE = Machine(has_apt=False, has_homebrew=False, is_root=True, has_sudo=True, has_terminal=True)


@pytest.mark.parametrize("machine", [DEBIAN_ROOT, DEBIAN_SUDO, MAC])
def test_machines_that_can_install_may(machine):
    machine.may_install(["rabbitmq-server"])


@pytest.mark.parametrize(("machine", "reason"), [(DEBIAN_GUEST, "no sudo"), (ELSEWHERE, "neither apt nor Homebrew")])
def test_a_machine_that_cannot_install_says_what_a_person_has_to_install(machine, reason):
    with pytest.raises(CannotInstall) as refusal:
        machine.may_install(["rabbitmq-server", "prometheus"])
    text = str(refusal.value)
    assert reason in text
    assert "rabbitmq-server, prometheus" in text
    assert "docker compose up" in text


def test_sudo_never_waits_for_a_password_that_nobody_can_type():
    script = Machine(has_apt=True, has_homebrew=False, is_root=False, has_sudo=True, has_terminal=False)
    assert script.as_root() == ["sudo", "-n"]
    assert DEBIAN_SUDO.as_root() == ["sudo"]
    assert DEBIAN_ROOT.as_root() == []


def test_the_newest_version_of_a_server_is_found(tmp_path):
    for version in ("9", "15", "17"):
        folder = tmp_path / version / "bin"
        folder.mkdir(parents=True)
        (folder / "postgres").touch()
    server = servers.Server("PostgreSQL", "postgres", (f"{tmp_path}/*/bin",), "postgresql", "postgresql@17")
    assert server.find() == tmp_path / "17" / "bin" / "postgres"


def test_a_server_that_is_nowhere_is_not_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert servers.Server("None", "no-such-server", (str(tmp_path),), "x", "x").find() is None


@pytest.fixture
def root(tmp_path):
    """A small root of a Debian system, with one service that was there before."""
    for folder in ("usr/sbin", "etc/init.d", "lib/systemd/system"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "lib/systemd/system/cron.service").touch()
    return tmp_path


def asked(policy: quiet_install.Policy, *words: str) -> int:
    return subprocess.run([policy.path, *words], check=False).returncode


def test_while_packages_are_installed_only_new_services_are_kept_from_starting(root):
    policy = quiet_install.Policy(root)
    policy.put_up(quiet_install.services(root))
    assert asked(policy, "--quiet", "rabbitmq-server", "start") == 101
    assert asked(policy, "--quiet", "cron", "restart") == 0
    assert asked(policy, "cron.service", "restart") == 0
    policy.take_down()
    assert not policy.path.exists()


def test_the_systems_own_policy_is_obeyed_and_comes_back_as_it_was(root):
    own = root / "usr/sbin/policy-rc.d"
    own.write_text("#!/bin/sh\nexit 104\n")
    own.chmod(0o755)
    policy = quiet_install.Policy(root)
    policy.put_up(quiet_install.services(root))
    assert asked(policy, "cron", "restart") == 104
    assert asked(policy, "rabbitmq-server", "start") == 101
    policy.take_down()
    assert own.read_text() == "#!/bin/sh\nexit 104\n"
    assert stat.S_IMODE(own.stat().st_mode) == 0o755
    assert not policy.is_left_over()


def test_a_killed_installation_is_recognised_with_the_services_that_were_there_before_it(root):
    quiet_install.Policy(root).put_up({"cron", "ssh"})
    (root / "lib/systemd/system/rabbitmq-server.service").touch()
    left = quiet_install.Policy(root)
    assert left.is_left_over()
    assert left.services_before() == {"cron", "ssh"}


def test_services_are_known_by_units_and_by_start_scripts(root):
    (root / "lib/systemd/system/epmd.socket").touch()
    (root / "lib/systemd/system/multi-user.target").touch()
    (root / "etc/init.d/rabbitmq-server").touch()
    assert quiet_install.services(root) == {"cron", "epmd.socket", "rabbitmq-server"}


def test_a_unit_is_taken_out_of_its_targets_and_others_stay(root):
    wants = root / "etc/systemd/system/sockets.target.wants"
    wants.mkdir(parents=True)
    for unit in ("epmd.socket", "ssh.socket"):
        (wants / unit).symlink_to(f"/lib/systemd/system/{unit}")
    quiet_install.remove_links("epmd.socket", root)
    assert [link.name for link in wants.iterdir()] == ["ssh.socket"]


def test_a_python_that_does_not_run_is_passed_over(tmp_path):
    broken = tmp_path / "python3.13"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    picker = Path(quiet_install.__file__).with_name("pick-python")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "VENV": str(tmp_path / "none")}
    environment.pop("PYTHON", None)
    done = subprocess.run([picker], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() not in {"", "python3.13"}


def test_a_python_that_was_asked_for_and_does_not_fit_is_refused_with_what_would_fit(tmp_path):
    picker = Path(quiet_install.__file__).with_name("pick-python")
    environment = {**os.environ, "PYTHON": str(tmp_path / "python2")}
    done = subprocess.run([picker], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "3.11, 3.12 or 3.13" in done.stderr
