"""Knows the servers the project runs, where their programs lie, and which packages bring them."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

HOMEBREW = (Path("/opt/homebrew"), Path("/usr/local"))


@dataclass(frozen=True)
class Server:
    """One server: the program that must be there, the folders to look in first, and the packages that bring it."""

    name: str
    program: str
    folders: tuple[str, ...]
    debian: str
    homebrew: str

    def find(self) -> Path | None:
        """Return the server's program, the newest version first, or None where it is not installed."""
        for pattern in self.folders:
            folder = Path(pattern)
            found = Path(folder.anchor).glob(f"{folder.relative_to(folder.anchor)}/{self.program}")
            for program in sorted(found, key=_version, reverse=True):
                return program
        on_path = shutil.which(self.program)
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
SERVERS = (RABBITMQ, POSTGRES, PROMETHEUS)


def missing() -> list[Server]:
    """Return the servers that are not installed."""
    return [server for server in SERVERS if server.find() is None]
