"""Knows the programs the project runs, its servers above all: where they lie, and which packages bring them."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from itertools import product
from pathlib import Path

HOMEBREW = (Path("/opt/homebrew"), Path("/usr/local"))


@dataclass(frozen=True)
class Server:
    """One server: the program that must be there, the folders to look in first, and the packages that bring it.

    Parameters:
      elsewhere: what the program is called where it is not called `program`.
    """

    name: str
    program: str
    folders: tuple[str, ...]
    debian: str
    homebrew: str
    elsewhere: tuple[str, ...] = ()

    def find(self) -> Path | None:
        """Return the server's program, the newest version first, or None where it is not installed."""
        names = (self.program, *self.elsewhere)
        for pattern, name in product(self.folders, names):
            folder = Path(pattern)
            found = Path(folder.anchor).glob(f"{folder.relative_to(folder.anchor)}/{name}")
            for program in sorted(found, key=_version, reverse=True):
                return program
        on_path = next(filter(None, map(shutil.which, names)), None)
        return Path(on_path) if on_path else None


def _version(program: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(program))]


def _homebrew(folder: str) -> tuple[str, ...]:
    return tuple(str(prefix / folder) for prefix in HOMEBREW)


# Debian's /usr/sbin/rabbitmq-server changes to the user rabbitmq; the one under /usr/lib runs as whoever calls it.
RABBITMQ = Server(
    name="RabbitMQ",
    program="rabbitmq-server",
    folders=("/usr/lib/rabbitmq/bin", *_homebrew("opt/rabbitmq/sbin")),
    debian="rabbitmq-server",
    homebrew="rabbitmq",
)
POSTGRES = Server(
    name="PostgreSQL",
    program="postgres",
    folders=("/usr/lib/postgresql/*/bin", *_homebrew("opt/postgresql@*/bin")),
    debian="postgresql",
    homebrew="postgresql@17",
)
PROMETHEUS = Server(
    name="Prometheus",
    program="prometheus",
    folders=("/usr/bin", *_homebrew("opt/prometheus/bin")),
    debian="prometheus",
    homebrew="prometheus",
)
ALERTMANAGER = Server(
    name="Alertmanager",
    program="prometheus-alertmanager",
    folders=("/usr/bin", *_homebrew("opt/alertmanager/bin")),
    debian="prometheus-alertmanager",
    homebrew="alertmanager",
    elsewhere=("alertmanager",),
)
CURL = Server(name="curl", program="curl", folders=("/usr/bin",), debian="curl", homebrew="curl")
"""No server; docs/publishing.md's sample for the gateway is a script that calls it."""
NEEDED = (RABBITMQ, POSTGRES, PROMETHEUS, ALERTMANAGER, CURL)


def missing() -> list[Server]:
    """Return what is not installed."""
    return [server for server in NEEDED if server.find() is None]
