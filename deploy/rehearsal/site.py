"""Runs one release of each service on the local stack, replaces it by another, and asks how things are."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pika
from sqlalchemy import Engine

from deploy.local import Stack, StackError, processes
from deploy.rehearsal.build import REVISION, point
from workers.store.engine import create_store_engine

ONE_SHOT = ("broker-setup", "migrate", "queues", "doctor")
SERVICES = (*ONE_SHOT, "worker", "scheduler")
"""What a deployment replaces, in this order."""
METRICS = 9191
STATUS_SECONDS = 120.0  # on a machine that is loaded by others too; `dutiful status` itself waits one second
POLL_SECONDS = 0.2
GRACE_SECONDS = 1

Overrides = dict[str, dict[str, Any]]


def overrides(folder: Path, more: Mapping[str, Mapping[str, Any]]) -> Overrides:
    """Return what the rehearsal changes about the services of docker-compose.yml: each runs in its release's folder.

    Parameters:
      folder: of the rehearsal.
      more: changes that go on top, environments merged.
    """
    changes: Overrides = {name: dict(each) for name, each in more.items() if name not in SERVICES}
    for name in SERVICES:
        environment = {
            "PYTHONPATH": ".",
            "DUTIFUL_REVISION_FILE": REVISION,
            "DUTIFUL_WORKER__GRACE_SECONDS": str(GRACE_SECONDS),
            "DUTIFUL_LOGS__SUCCESS_LINES": "false",
            "SITE_FEEDS_DIRECTORY": str(folder / "feeds"),
            "SITE_PUBLIC_DIRECTORY": str(folder / "public"),
        }
        extra = dict(more.get(name, {}))
        environment |= extra.pop("environment", {})
        own = {"working_dir": str(link(folder, name)), "volumes": [], "build": {}, "environment": environment}
        changes[name] = own | extra
    return changes


def link(folder: Path, service: str) -> Path:
    """Return what leads to the release of a service."""
    return folder / "current" / service


def spoken(answer: Mapping[str, Any]) -> list[str]:
    """Return every sentence of an answer of `dutiful status`."""
    return [line for each in answer.get("answers", ()) for line in each["says"]]


def is_fine(answer: Mapping[str, Any], release: str) -> bool:
    """Tell whether all four answers are fine, and the workers say that they are this release."""
    running = [line.split() for line in spoken(answer) if line.startswith("running here:")]
    return answer.get("verdict") == "fine" and bool(running) and running[0][-1] == release


class Site:
    """A stack whose services run releases.

    Parameters:
      folder: of the rehearsal; the stack's own is in it.
      stack: it runs.
    """

    def __init__(self, folder: Path, stack: Stack) -> None:
        self.folder = folder
        self.stack = stack
        self.environment = stack.environment
        self.engine: Engine = create_store_engine(self.environment["DUTIFUL_STORE__URL"])

    def replace(self, service: str, release: Path) -> float:
        """Stop a service, start it from another release, wait until it is healthy; return the seconds.

        Raises:
          StackError: it does not start. It is left as it is.
        """
        began = time.monotonic()
        point(link(self.folder, service), release)
        self.stack.restart_service(service)
        self.stack.wait_healthy(service)
        return time.monotonic() - began

    def depths(self, *queues: str) -> dict[str, int]:
        """Return how many messages are ready in each of these queues, of those that exist."""
        found = {}
        with closing(pika.BlockingConnection(pika.URLParameters(self.environment["DUTIFUL_RABBITMQ__URL"]))) as link_:
            for queue in queues:
                channel = link_.channel()
                try:
                    found[queue] = channel.queue_declare(queue, passive=True).method.message_count
                    channel.close()
                except pika.exceptions.ChannelClosedByBroker:
                    continue  # this release does not have it
        return found

    def status(self, release: str, compare: Path | None = None) -> tuple[dict[str, Any], str]:
        """Ask `dutiful status` of the release that the workers run, until all is fine or it has had its time.

        Returns:
          the last answer, and what the last one that was not fine had said; a worker that is asked while it is very
          busy may be silent for longer than the command waits, so that it can't say which release it is.
        """
        deadline, before = time.monotonic() + STATUS_SECONDS, ""
        while True:
            answer = self._status(compare)
            if is_fine(answer, release) or time.monotonic() > deadline:
                return answer, before
            before = "; ".join([*spoken(answer), *answer.get("unknown", ())])
            time.sleep(POLL_SECONDS)

    def _status(self, compare: Path | None) -> dict[str, Any]:
        words = [str(Path(sys.executable).with_name("dutiful")), "status", "--json"]
        words += ["--compare", str(compare)] if compare else []
        environment = {
            "PATH": str(Path(sys.executable).parent),
            "PYTHONPATH": ".",
            "DUTIFUL_METRICS__PORT": str(self.stack.port("worker", METRICS)),
            processes.MARK: f"{self.stack.run_folder}#status",  # it ends with the stack, however that ends
            **self.environment,
        }
        done = subprocess.run(  # noqa: S603  our own command
            words, cwd=link(self.folder, "worker"), env=environment, capture_output=True, text=True, check=False
        )
        try:
            return dict(json.loads(done.stdout))
        except ValueError:
            raise StackError(
                "`dutiful status` gave no answer", expected="JSON", received=(done.stdout + done.stderr)[-500:]
            ) from None

    def said(self, event: str) -> int:
        """Return how often the workers have logged an event so far."""
        return self.stack.logs("worker").count(f'"event": "{event}"')

    def close(self) -> None:
        """Let go of the store."""
        self.engine.dispose()
