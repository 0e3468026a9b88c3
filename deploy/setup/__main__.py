"""Sets the project up: the virtual environment, its packages, and the servers that are missing.

    python3 -m deploy.setup [--venv FOLDER] [--no-servers]

It says what it will install. On a terminal it asks first, unless YES=1; without a terminal it goes on, since whoever
runs a script has decided already.
"""

# ruff: noqa: T201  it speaks to a person
from __future__ import annotations

import argparse
import fcntl
import os
import sys
from pathlib import Path

from deploy.setup import environment, servers, system


def main() -> int:
    """Do what is missing; a second run finds nothing to do and says so."""
    parser = argparse.ArgumentParser(prog="python3 -m deploy.setup", description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="folder of the virtual environment")
    parser.add_argument("--no-servers", action="store_true", help="install Python packages only")
    options = parser.parse_args()
    run_folder = system.CHECKOUT / ".run"
    run_folder.mkdir(exist_ok=True)
    try:
        with (run_folder / "setup.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            set_up(system.CHECKOUT / options.venv, with_servers=not options.no_servers)
    except system.CannotInstall as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Set-up was stopped. It is safe to start it again.", file=sys.stderr)
        return 130
    return 0


def set_up(venv: Path, *, with_servers: bool) -> None:
    """Bring the environment and the servers to where they should be."""
    machine = system.Machine.this()
    packages = system_packages(machine, with_servers=with_servers)
    current = environment.is_current(venv)
    if with_servers:
        system.finish_killed_installation(machine)
    if packages:
        machine.may_install(packages)
    if packages or not current:
        announce(packages, venv, current=current, ask=machine.has_terminal and os.environ.get("YES") != "1")
    if packages:
        system.install(machine, packages)
    if not current:
        environment.fill(venv)
    print("Set-up is complete." if packages or not current else "Set-up was complete already.")


def system_packages(machine: system.Machine, *, with_servers: bool) -> list[str]:
    """Return the system's packages that are missing, by the names this system gives them."""
    packages = []
    if not environment.can_make_one():
        packages.append(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
    if with_servers:
        packages += [server.homebrew if machine.has_homebrew else server.debian for server in servers.missing()]
    return packages


def announce(packages: list[str], venv: Path, *, current: bool, ask: bool) -> None:
    """Say what is going to be installed, and ask where somebody can answer."""
    print("Set-up will install:")
    if packages:
        print(f"  from the system's packages: {', '.join(packages)}")
        print("    (their services will be neither started nor enabled; the project runs private ones under .run/)")
    if not current:
        print(f"  into {venv.name}/: the Python packages of {environment.LOCK.name}")
    sys.stdout.flush()
    if ask and input("Go on? [Y/n] ").strip().lower() not in {"", "y", "yes"}:
        raise system.CannotInstall("Nothing was installed, as you wished. YES=1 answers yes beforehand.")


if __name__ == "__main__":
    sys.exit(main())
