"""Runs the services of one stack and answers questions and orders on a socket, one line of JSON each.

python -m deploy.local.supervisor RUN_FOLDER          (started by the guardian)
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from deploy.local import compose, processes
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.plan import Plan
from deploy.local.service import LiveService

OWNER_INTERVAL = 1.0


class Supervisor:
    """All services of a stack."""

    def __init__(self, folders: Folders, order: dict[str, Any]) -> None:
        self._folders = folders
        self._order = order
        self._plan = Plan.read(folders, order)
        self._live = {name: self._live_service(name) for name in self._plan.services}
        self._ended = asyncio.Event()
        self._in_good_order = True
        self._tasks: set[asyncio.Task[None]] = set()

    def _live_service(self, name: str) -> LiveService:
        plan = self._plan
        return LiveService(
            plan.services[name],
            lambda: plan.launch(name),
            plan.health_test(name),
            self._folders.log(name),
            f"{self._folders.mark}{name}",
        )

    async def run(self) -> None:
        """Live until told to stop, or until the owner or the guardian is gone; then stop every service.

        Not in good order means that the guardian kills them all: quick, for a stack whose data is thrown away.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._ended.set)
        self._folders.socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, self._folders.socket)
        self._folders.socket.chmod(0o600)
        await self.start(self._order["wanted"])
        self._record()
        watch = asyncio.create_task(self._watch_owner())
        await self._ended.wait()
        watch.cancel()
        if self._in_good_order:
            await self.stop(list(self._live))
        server.close()
        self._folders.socket.unlink(missing_ok=True)

    async def start(self, names: list[str]) -> None:
        """Start services and what they need; a one-shot that has succeeded runs again only when it is named."""
        done = {name for name in compose.one_shot(self._plan.services) if self._live[name].has_succeeded}
        for name in compose.with_dependencies(self._plan.services, names) if names else []:
            if name in done and name not in names:
                continue
            needs = self._plan.services[name].depends_on
            await self._live[name].start({self._live[needed]: condition for needed, condition in needs.items()})

    async def stop(self, names: list[str]) -> None:
        """Stop services, dependents before what they need."""
        left = set(names)
        while left:
            free = {name for name in left if not any(name in self._plan.services[other].depends_on for other in left)}
            await asyncio.gather(*(self._live[name].stop() for name in free))
            left -= free

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a client asks."""
        match request["do"]:
            case "status":
                pass
            case "start":
                await self.start(request["services"])
            case "stop":
                await self.stop(self._known(request["services"]))
            case "restart":
                await self.stop(self._known(request["services"]))
                await self.start(request["services"])
            case "kill":
                [name] = self._known([request["service"]])
                pid = self._live[name].kill(request["signal"], request["child"])
                if request["signal"] == signal.SIGKILL and request["child"] is None:
                    await self._live[name].gone(pid)  # so that whoever waits for its health waits for the next one's
                return {"killed": pid}
            case "shutdown":
                self._in_good_order = request["in_good_order"]
                self._ended.set()
        return self._record()

    def _known(self, names: list[str]) -> list[str]:
        return [name for name in compose.with_dependencies(self._plan.services, names) if name in names]

    def _record(self) -> dict[str, Any]:
        one_shot = compose.one_shot(self._plan.services)
        record = {
            "guardian": vars(processes.Identity.of(os.getppid())),
            "supervisor": vars(processes.Identity.of(os.getpid())),
            "ports": self._order["ports"],
            "environment": self._plan.host_environment(),
            "administrator": self._plan.administrator(),
            "services": {name: live.status() | {"one_shot": name in one_shot} for name, live in self._live.items()},
        }
        draft = self._folders.record.with_suffix(".draft")
        draft.write_text(json.dumps(record, indent=1))
        draft.rename(self._folders.record)
        return record

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            try:
                answer = await self.answer(json.loads(await reader.readline()))
            except (StackError, OSError) as error:
                answer = {"error": vars(error) if isinstance(error, StackError) else {"what": str(error)}}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except ConnectionError:
            pass  # the client did not wait for the answer
        finally:
            writer.close()

    async def _watch_owner(self) -> None:
        owner = processes.Identity.read(self._order["owner"])
        guardian = os.getppid()
        while os.getppid() == guardian and (owner is None or owner.is_alive()):  # noqa: ASYNC110  a death sets no event
            await asyncio.sleep(OWNER_INTERVAL)
        self._ended.set()


def main() -> None:
    """Run the stack that the order in the run folder describes."""
    processes.die_with_parent(signal.SIGTERM)
    folders = Folders(Path(sys.argv[1]))
    order = json.loads(folders.order.read_text())
    asyncio.run(Supervisor(folders, order).run())


if __name__ == "__main__":
    main()
