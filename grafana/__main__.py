"""Writes every dashboard anew into grafana/dashboards/."""

from __future__ import annotations

from pathlib import Path

from grafana import actor, broker, deployment, incident
from grafana.frame import text

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS = {
    "incident.json": incident.build,
    "actor.json": actor.build,
    "deployment.json": deployment.build,
    "broker-and-store.json": broker.build,
}


def files() -> dict[str, str]:
    """Return every file by name."""
    return {name: text(build()) for name, build in DASHBOARDS.items()}


if __name__ == "__main__":
    for name, content in files().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
