"""Restarts our own services when their code changes, for development."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.local.folders import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.local.stack import Stack

CODE = ("workers", "actors", "scheduling")


class Reload:
    """Watches the code, by looking: a hundred files cost a millisecond, and no folder has to be left out.

    Parameters:
      stack: whose services are restarted.
      services: which of them.
    """

    def __init__(self, stack: Stack, services: Sequence[str]) -> None:
        self._stack = stack
        self._services = services
        self._seen = _times()

    def look(self) -> None:
        """Restart the services if a file has changed, appeared or gone."""
        now = _times()
        changed = sorted(name for name, _ in now.items() ^ self._seen.items())
        if changed and self._services:
            print(f"changed: {', '.join(dict.fromkeys(changed))}; restarting {', '.join(self._services)}", flush=True)  # noqa: T201  to the developer
            self._stack.restart_service(*self._services)
        self._seen = now


def _times() -> dict[str, int]:
    files = [file for folder in CODE for file in (CHECKOUT / folder).rglob("*.py")]
    return {str(file.relative_to(CHECKOUT)): file.stat().st_mtime_ns for file in files if file.exists()}
