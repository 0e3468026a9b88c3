"""Installs system packages with what the machine has: apt on Debian and Ubuntu, Homebrew on macOS."""

# ruff: noqa: T201, S603  it speaks to a person; no command comes from outside
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.setup.quiet_install import Policy

CHECKOUT = Path(__file__).resolve().parents[2]
APT_OPTIONS = ("-o", "DPkg::Lock::Timeout=300")


class CannotInstall(Exception):
    """The machine does not let us install; the text says what a person has to install."""


@dataclass(frozen=True)
class Machine:
    """What matters about this machine, as plain facts, so that each decision can be tested."""

    has_apt: bool
    has_homebrew: bool
    is_root: bool
    has_sudo: bool
    has_terminal: bool

    @classmethod
    def this(cls) -> Machine:
        """Return the machine we are on."""
        return cls(
            has_apt=sys.platform == "linux" and shutil.which("apt-get") is not None,
            has_homebrew=sys.platform == "darwin" and shutil.which("brew") is not None,
            is_root=os.geteuid() == 0,
            has_sudo=shutil.which("sudo") is not None,
            has_terminal=sys.stdin.isatty(),
        )

    def as_root(self) -> list[str]:
        """Return what goes before a command that needs root."""
        if self.is_root:
            return []
        return ["sudo"] if self.has_terminal else ["sudo", "-n"]  # -n: never wait for a password nobody can type

    def may_install(self, names: list[str]) -> None:
        """Raise CannotInstall unless packages can be installed here."""
        if self.has_homebrew:
            return
        if self.has_apt and (self.is_root or self.has_sudo):
            return
        reason = (
            "this user is not root and there is no sudo"
            if self.has_apt
            else "this machine has neither apt nor Homebrew"
        )
        raise CannotInstall(
            f"Set-up cannot install {', '.join(names)}: {reason}.\n"
            f"  expected: root, or sudo, on Debian or Ubuntu; Homebrew on macOS\n"
            f"  to mend:  install {', '.join(names)} with your system's own tools, then say the same command again.\n"
            f"            Their services need not run: the project starts private ones of its own.\n"
            f"            Where Docker is, `make env && docker compose up` needs none of this."
        )


def install(machine: Machine, packages: list[str]) -> None:
    """Install the packages; their services end up neither started nor enabled."""
    if machine.has_homebrew:
        _run(["brew", "install", *packages])  # Homebrew starts a service only when told to
        return
    wanted = ["apt-get", "install", *APT_OPTIONS, "-y", "--no-install-recommends"]
    download = [*machine.as_root(), *wanted, "--download-only", "--quiet", *packages]
    # Downloading can be interrupted at any moment. Old package lists make it fail; only then are they fetched anew.
    if subprocess.run(download, check=False).returncode != 0:
        _run([*machine.as_root(), "apt-get", "update", "--quiet"])
        _run(download)
    _run_to_its_end([*machine.as_root(), sys.executable, "-B", "-m", "deploy.setup.quiet_install", *packages])


def finish_killed_installation(machine: Machine) -> None:
    """Put right what an installation left that was killed in the middle."""
    if machine.has_apt and Policy().is_left_over():
        print("An earlier set-up was killed in the middle; putting the system's service policy right first.")
        machine.may_install(["nothing new, but root is needed to finish the last installation"])
        _run_to_its_end([*machine.as_root(), sys.executable, "-B", "-m", "deploy.setup.quiet_install"])


def _run(command: list[str]) -> None:
    status = subprocess.run(command, check=False, cwd=CHECKOUT).returncode
    if status != 0:
        raise CannotInstall(
            f"`{' '.join(command)}` ended with status {status}; 0 was expected.\n"
            f"  What it said stands above. It is safe to say the same command again."
        )


def _run_to_its_end(command: list[str]) -> None:
    """Run a command that must not be cut short; Ctrl-C takes effect when it has ended."""
    interrupted = []
    previous = signal.signal(signal.SIGINT, lambda number, _frame: interrupted.append(number))
    try:
        _run(command)
    finally:
        signal.signal(signal.SIGINT, previous)
        if interrupted:
            raise KeyboardInterrupt
