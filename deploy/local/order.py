"""Writes down what a stack shall run, and starts those who run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from deploy.local import control, images, ports, processes
from deploy.local.errors import StackError
from deploy.local.folders import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deploy.local.compose import Service
    from deploy.local.folders import Folders

LAST_CHARACTERS = 2000


def write(
    folders: Folders,
    declared: Mapping[str, Service],
    wanted: list[str],
    overrides: Mapping[str, Any],
    compose_file: Path,
    *,
    attached: bool,
) -> None:
    """Write the order that the supervisor reads; an attached stack ends with the process that calls this."""
    order = {
        "compose_file": str(compose_file.resolve()),
        "wanted": wanted,
        "overrides": overrides,
        "ports": _ports(declared, (control.record(folders) or {}).get("ports", {})),
        "owner": vars(processes.Identity.of(os.getpid())) if attached else None,
    }
    folders.order.write_text(json.dumps(order, indent=1))


def launch(folders: Folders, timeout: float) -> None:
    """Start guardian and supervisor and wait until they answer."""
    folders.record.unlink(missing_ok=True)
    with folders.log("supervisor").open("ab") as log:
        subprocess.run(  # noqa: S603  our own program
            [sys.executable, "-m", "deploy.local.guardian", str(folders.run)],
            cwd=CHECKOUT,
            env={**os.environ, processes.MARK: f"{folders.mark}guardian"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=True,
        )
    deadline = time.monotonic() + timeout
    while control.guardian(folders) is None:
        time.sleep(0.02)
        if time.monotonic() > deadline:
            log_text = folders.log("supervisor").read_text(errors="replace")
            raise StackError("the supervisor did not start", received=log_text[-LAST_CHARACTERS:])


def _ports(declared: Mapping[str, Service], before: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Choose a free port for each port of the compose file: the one it had last time, where that is still free."""
    inside = [(name, port) for name, service in declared.items() for port in images.all_ports(service)]
    fresh = iter(ports.choose(len(inside)))
    chosen: dict[str, dict[str, int]] = {name: {} for name in declared}
    for name, port in inside:
        earlier = before.get(name, {}).get(str(port))
        chosen[name][str(port)] = earlier if earlier and ports.is_free(earlier) else next(fresh)
    return chosen
