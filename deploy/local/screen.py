"""Shows a stack to a person."""

# ruff: noqa: T201  it speaks to a person
from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local import compose
from deploy.local.folders import COMPOSE_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.local.stack import Stack

PAGES = (
    ("RabbitMQ's page", "rabbitmq", 15672, "/"),
    ("worker's metrics", "worker", 9191, "/metrics"),
    ("scheduler's metrics", "scheduler", 9192, "/metrics"),
    ("the other's metrics", "scheduler-2", 9192, "/metrics"),
    ("gateway", "gateway", 8000, "/health"),
    ("Prometheus", "prometheus", 9090, "/"),
    ("Alertmanager", "alertmanager", 9093, "/"),
)


def nothing(_line: str) -> None:
    """Say nothing."""


def table(services: dict[str, dict[str, Any]]) -> None:
    """Print a line for each service."""
    print(f"{'SERVICE':<13} {'STATE':<11} {'HEALTH':<10} {'PID':>7} {'RESTARTS':>8}  LAST EXIT")
    for name, each in services.items():
        last = "" if each["exit_code"] is None else each["exit_code"]
        print(
            f"{name:<13} {each['state']:<11} {each['health']:<10} {each['pid'] or '':>7} {each['restarts']:>8}  {last}"
        )
        if each["reason"]:
            print(f"{'':<13} {each['reason']}")


def in_words(status: dict[str, Any]) -> str:
    """Say how a service is."""
    words = str(status["state"])
    if status["state"] == "running":
        words += "" if status["health"] in {"unknown", "none"} else f", {status['health']}"
    if status["exit_code"] is not None:
        words += f", last exit status {status['exit_code']}"
    if status["restarts"]:
        words += f", restarts: {status['restarts']}"
    return words


def places(stack: Stack) -> None:
    """Print where everything is."""
    services = stack.status()
    print()
    table(services)
    print()
    for title, service, port, path in PAGES:
        if services.get(service, {}).get("state") == "running":
            print(f"{title + ':':<22} {stack.url(service, port)}{path}")
    for name, value in stack.environment.items():
        print(f"{name}={value}")
    print(f"{'files and logs:':<22} {stack.run_folder}")
    for name, reason in compose.only_in_containers(COMPOSE_FILE).items():
        print(f"{name + ':':<22} does not run without containers: {reason}")


def preparations(stack: Stack, before: dict[str, int]) -> None:
    """Print what the services have said that prepare the others and have ended.

    Parameters:
      before: how long their logs were when the stack was started; what is older was said at an earlier start.
    """
    print()
    for name, each in stack.status().items():
        if each["one_shot"] and each["state"] == "exited":
            text, _ = _new_lines(stack.run_folder / "logs" / f"{name}.log", before.get(name, 0))
            for line in text.splitlines():
                print(f"{name:<12} | {line}")


def sizes(stack: Stack) -> dict[str, int]:
    """Return how long each log is now."""
    return {name: size(stack, name) for name in logged(stack)}


def logged(stack: Stack) -> list[str]:
    """Return what has a log."""
    return sorted(log.stem for log in (stack.run_folder / "logs").glob("*.log"))


def follow(stack: Stack, services: Sequence[str], meanwhile: Callable[[], None] = lambda: None) -> None:
    """Print what the services write from now on, each line with its service's name, until the stack ends."""
    offsets = {name: size(stack, name) for name in services} or sizes(stack)
    while stack.is_running:
        for name, offset in offsets.items():
            text, offsets[name] = _new_lines(stack.run_folder / "logs" / f"{name}.log", offset)
            for line in text.splitlines():
                print(f"{name:<12} | {line}")
        sys.stdout.flush()
        meanwhile()
        time.sleep(0.2)


def size(stack: Stack, name: str) -> int:
    """Return how long a service's log is now."""
    log = stack.run_folder / "logs" / f"{name}.log"
    return log.stat().st_size if log.exists() else 0


def _new_lines(log: Path, offset: int) -> tuple[str, int]:
    """Return the whole lines written since an offset, and the offset after them."""
    if not log.exists():
        return "", 0
    with log.open("rb") as file:
        file.seek(offset)
        whole = file.read().rpartition(b"\n")[0]
    return whole.decode(errors="replace"), offset + len(whole) + (1 if whole else 0)


def shell_environment(stack: Stack) -> dict[str, str]:
    """Return this shell's environment with the stack's on top."""
    return {**os.environ, **stack.environment}
