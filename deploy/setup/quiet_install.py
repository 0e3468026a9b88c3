"""Installs Debian packages as root so that none of their services is started or enabled, whatever interrupts it.

Two files of the system are touched, and both are put right at the end:
- /usr/sbin/policy-rc.d, which maintainer scripts ask before they start a service, forbids services that are new;
- the services that came with the packages are disabled, so that the next boot does not start them either.

Signals are only remembered while this goes on, since half an installation helps nobody. Should the process be killed
all the same, our policy file is still there with the list of services that were here before: the next run finishes.
"""

# ruff: noqa: T201, S603  it speaks to a person; no command comes from outside
from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path("/")
MARKER = "# dutiful set-up: forbids new services while packages are being installed"
UNIT_FOLDERS = ("lib/systemd/system", "usr/lib/systemd/system", "etc/systemd/system", "etc/init.d")
UNIT_KINDS = (".service", ".socket", ".timer")
POLICY = """#!/bin/sh
{marker}
# before: {before}
for word in "$@"; do
    case "$word" in --*) ;; *) service="${{word%.service}}"; break ;; esac
done
case " {before} " in
    *" $service "*) [ -x "$0.before-dutiful" ] && exec "$0.before-dutiful" "$@"; exit 0 ;;
esac
exit 101
"""


class Policy:
    """The system's policy-rc.d while ours stands in its place."""

    def __init__(self, root: Path = ROOT) -> None:
        self.path = root / "usr/sbin/policy-rc.d"
        self.original = root / "usr/sbin/policy-rc.d.before-dutiful"

    def is_ours(self) -> bool:
        """Tell whether ours stands there now."""
        return self.path.is_file() and MARKER in self.path.read_text(errors="replace")

    def is_left_over(self) -> bool:
        """Tell whether an earlier installation was killed before it could put the system's own policy back."""
        return self.is_ours() or self.original.exists()

    def services_before(self) -> set[str] | None:
        """Return what our own policy noted when it was written."""
        if not self.is_ours():
            return None
        for line in self.path.read_text(errors="replace").splitlines():
            if line.startswith("# before: "):
                return set(line.removeprefix("# before: ").split())
        return None

    def put_up(self, before: set[str]) -> None:
        """Forbid new services; about those that were here before, the system's own policy goes on deciding."""
        if self.path.exists() and not self.is_ours():
            self.path.rename(self.original)
        draft = self.path.with_suffix(".dutiful-draft")
        draft.write_text(POLICY.format(marker=MARKER, before=" ".join(sorted(before))))
        draft.chmod(0o755)
        draft.rename(self.path)

    def take_down(self) -> None:
        """Put the system's own policy back."""
        if self.original.exists():
            self.original.rename(self.path)
        elif self.is_ours():
            self.path.unlink()


def services(root: Path = ROOT) -> set[str]:
    """Return every service the system knows: units with their kind (x.socket), except that x.service is called x."""
    names = set()
    for folder in UNIT_FOLDERS:
        for entry in (root / folder).glob("*"):
            if folder == "etc/init.d" or entry.suffix in UNIT_KINDS:
                names.add(entry.name.removesuffix(".service"))
    return names


def disable(names: set[str], root: Path = ROOT) -> None:
    """Keep the next boot from starting these services; where systemd runs, also stop what is running of them."""
    systemd_runs = Path("/run/systemd/system").is_dir()
    for name in sorted(names):
        unit = name if Path(name).suffix in UNIT_KINDS else f"{name}.service"
        if shutil.which("systemctl"):  # works on the links alone where systemd does not run, as in a container
            _quietly("systemctl", "disable", unit)
        remove_links(unit, root)
        if systemd_runs and "@." not in unit:
            _quietly("systemctl", "stop", unit)
        if (root / "etc/init.d" / name).exists():
            _quietly("update-rc.d", name, "disable")


def remove_links(unit: str, root: Path = ROOT) -> None:
    """Take a unit out of every target: packages put it there even where there is no systemctl to disable it."""
    for link in (root / "etc/systemd/system").glob("*.wants/*"):
        if link.name == unit:
            link.unlink()


def clusters(root: Path = ROOT) -> set[Path]:
    """Return the folders of Debian's PostgreSQL clusters; installing PostgreSQL makes one, called main."""
    return {entry.parent for entry in (root / "etc/postgresql").glob("*/*/postgresql.conf")}


def _quietly(*command: str) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


@contextmanager
def undisturbed() -> Iterator[list[int]]:
    """Remember signals instead of obeying them."""
    received: list[int] = []

    def remember(number: int, _frame: object) -> None:
        if not received:
            print("\nFinishing the installation first, so that nothing is left half done ...", flush=True)
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, remember)
    yield received


def install(packages: Sequence[str], root: Path = ROOT) -> int:
    """Install the packages, or finish what a killed run left behind when there are none."""
    policy = Policy(root)
    before = policy.services_before()
    if before is None:
        before = services(root) - ({"postgresql"} if "postgresql" in packages else set())
    clusters_before = clusters(root)
    policy.put_up(before)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # A session of its own: the terminal's Ctrl-C must not reach dpkg in the middle of a package.
    steps = [["dpkg", "--configure", "-a"]]
    if packages:
        steps.append(["apt-get", "install", "-y", "--no-install-recommends", *packages])
    try:
        for step in steps:
            status = subprocess.run(step, env=environment, start_new_session=True, check=False).returncode
    finally:
        for cluster in clusters(root) - clusters_before:
            (cluster / "start.conf").write_text("manual\n")
        disable(services(root) - before, root)
        policy.take_down()
    return status


def main() -> int:
    """Run as root: the arguments are the packages."""
    with undisturbed() as received, Path("/run/lock/dutiful-setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another checkout may be doing the same
        status = install(sys.argv[1:])
    return 128 + received[0] if received else status


if __name__ == "__main__":
    sys.exit(main())
