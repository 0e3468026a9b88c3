"""Talks to a stack's supervisor."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from deploy.local import processes
from deploy.local.errors import StackError

if TYPE_CHECKING:
    from deploy.local.folders import Folders

LIMIT_SECONDS = 180.0  # stopping waits for grace periods


def ask(folders: Folders, **request: Any) -> dict[str, Any]:
    """Send one order and return the answer; an error over there is raised here."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(LIMIT_SECONDS)
            connection.connect(str(folders.socket))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
    except OSError as error:
        raise StackError(
            "the local stack does not answer", expected="one that runs: `make up`", received=f"{folders.run}: {error}"
        ) from error
    if not line:
        raise StackError("the local stack ended while it was asked", received=str(request["do"]), safe_to_retry=True)
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise StackError(**answer["error"])
    return answer


def record(folders: Folders) -> dict[str, Any] | None:
    """Return what the stack last said about itself."""
    try:
        return dict(json.loads(folders.record.read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def guardian(folders: Folders) -> processes.Identity | None:
    """Return the process that stands for the whole stack, if it lives: the number alone proves nothing."""
    found = processes.Identity.read((record(folders) or {}).get("guardian"))
    return found if found and found.is_alive() else None
