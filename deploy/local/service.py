"""Keeps one service of the stack as the compose file wants it: started, checked, restarted, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from deploy.local import health, processes
from deploy.local.errors import StackError
from deploy.local.postgres import run_as

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from deploy.local.compose import Service
    from deploy.local.images import Launch

FIRST_PAUSE = 0.1  # before a restart, doubled each time
LONGEST_PAUSE = 10.0
LONG_ENOUGH = 10.0  # up so long, it starts at the first pause again
POLLING = (0.2, 0.2, 0.3, 0.5, 0.7, 1.0)  # between checks until the first success; then as the compose file says


class LiveService:
    """A service and the process it runs as at the moment.

    Parameters:
      service: what the compose file says.
      prepare: makes its files and tells how to start it; called before every start.
      test: its health check, with addresses as on this host.
      log: where its output goes.
      mark: what its processes carry, so that they can be found.
    """

    def __init__(
        self, service: Service, prepare: Callable[[], Launch], test: Sequence[str], log: Path, mark: str
    ) -> None:
        self.service = service
        self._untold = "unknown" if service.healthcheck else "none"
        self.state = "stopped"  # waiting, starting, running, restarting, stopping, stopped, exited, failed
        self.health = self._untold  # then healthy or unhealthy
        self.exit_code: int | None = None
        self.restarts = 0
        self.reason = ""
        self.changed = asyncio.Condition()
        self._prepare = prepare
        self._test = test
        self._log = log
        self._mark = mark
        self._identity: processes.Identity | None = None
        self._wanted = False
        self._life: asyncio.Task[None] | None = None

    def status(self) -> dict[str, Any]:
        """Return what can be said about it, for JSON."""
        return {
            "state": self.state,
            "health": self.health,
            "pid": self._identity.pid if self._identity else None,
            "exit_code": self.exit_code,
            "restarts": self.restarts,
            "reason": self.reason,
        }

    @property
    def has_succeeded(self) -> bool:
        """Tell whether it has ended well by itself."""
        return self.state == "exited" and self.exit_code == 0

    def meets(self, condition: str) -> bool:
        """Tell whether a dependent service may start; raise StackError when it never will."""
        if condition == "service_completed_successfully":
            if self.has_succeeded:
                return True
        elif self.state == "running" and (condition == "service_started" or self._is_well()):
            return True
        if self.state in {"exited", "failed"} or self.health == "unhealthy":
            raise StackError(
                f"{self.service.name} is not there for those who need it",
                expected=condition,
                received=self.reason or f"{self.state}, {self.health}, exit status {self.exit_code}",
            )
        return False

    def _is_well(self) -> bool:
        return self.health in {"none", "healthy"}

    async def start(self, conditions: dict[LiveService, str]) -> None:
        """Start it as soon as what it depends on is there; one that runs already goes on."""
        if self._life is None or self._life.done():
            self._wanted, self.exit_code, self.restarts, self.reason = True, None, 0, ""
            await self._become("waiting" if conditions else "starting")
            self._life = asyncio.create_task(self._live(conditions))

    async def stop(self) -> None:
        """Ask the main process to end, and only it, as Docker does; what is left after the grace period is killed."""
        self._wanted = False
        if self._life is None:
            return
        if self._identity is not None:
            await self._become("stopping")
            self._signal(self._launch.stop_signal)
            await asyncio.wait([self._life], timeout=self.service.stop_grace_seconds)
            self._clear_away()
        else:
            self._life.cancel()
        await asyncio.wait([self._life])
        await self._become("stopped")

    async def gone(self, pid: int) -> None:
        """Wait until it is known that a main process has ended."""
        async with self.changed:
            await self.changed.wait_for(lambda: self._identity is None or self._identity.pid != pid)

    def kill(self, number: int, child: int | None) -> int:
        """Send a signal to the main process, or to one of its children; SIGKILL takes everything, as in a container."""
        if self._identity is None:
            raise StackError(f"{self.service.name} is not running", expected="a process to signal", received=self.state)
        pid = self._identity.pid
        if child is not None:
            below = processes.children(pid)
            if child >= len(below):
                raise StackError(
                    f"{self.service.name} has no child number {child}",
                    expected=f"0 to {len(below) - 1}",
                    received=str(child),
                    safe_to_retry=True,
                )
            pid = below[child]
            os.kill(pid, number)
        elif number == signal.SIGKILL:
            processes.kill_group(pid)
        else:
            os.kill(pid, number)
        return pid

    async def _live(self, conditions: dict[LiveService, str]) -> None:
        pause = FIRST_PAUSE
        try:
            for needed, condition in conditions.items():
                async with needed.changed:
                    await needed.changed.wait_for(lambda n=needed, c=condition: n.meets(c))  # type: ignore[misc]
            while self._wanted:
                began = time.monotonic()
                await self._run_once()
                if not self._wanted or not self._starts_again():
                    break
                if time.monotonic() - began > LONG_ENOUGH:
                    pause = FIRST_PAUSE
                await self._become("restarting")
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                self.restarts += 1
            await self._become("exited")
        except (StackError, OSError) as error:
            self.reason = str(error)
            await self._become("failed")

    async def _run_once(self) -> None:
        await self._become("starting")
        self._launch = await asyncio.to_thread(self._prepare)
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._launch.command,
                env={**self._launch.environment, processes.MARK: self._mark},
                cwd=self._launch.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **run_as(self._launch.user),
            )
        self._identity = processes.Identity.of(process.pid)
        self.health = self._untold
        await self._become("running")
        if not self._wanted:  # stopped while it was being prepared
            self._signal(signal.SIGKILL)
        checks = asyncio.create_task(self._check_health())
        try:
            self.exit_code = await process.wait()
        finally:
            checks.cancel()
            self._clear_away()
            self._identity = None
            self.health = self._untold

    def _starts_again(self) -> bool:
        policy, _, most = self.service.restart.partition(":")
        if policy in {"always", "unless-stopped"}:
            return True
        return policy == "on-failure" and self.exit_code != 0 and (not most or self.restarts < int(most))

    async def _check_health(self) -> None:
        check = self.service.healthcheck
        if check is None:
            return
        began, failures, pauses = time.monotonic(), 0, iter(POLLING)
        while True:
            if await health.is_healthy(self._test, self._launch, check.timeout):
                failures = 0
                await self._become(health="healthy")
            elif self.health != "unknown" or time.monotonic() - began > check.start_period:
                failures += 1
                if failures >= check.retries:
                    await self._become(health="unhealthy")
            starting = self.health == "unknown"
            await asyncio.sleep(next(pauses, POLLING[-1]) if starting else check.interval)

    async def _become(self, state: str = "", health: str = "") -> None:
        async with self.changed:
            self.state = state or self.state
            self.health = health or self.health
            self.changed.notify_all()

    def _signal(self, number: int) -> None:
        if self._identity is not None:
            with suppress(ProcessLookupError):
                os.kill(self._identity.pid, number)

    def _clear_away(self) -> None:
        """Kill what the service left: first its process group, then what left the group but still carries its mark."""
        if self._identity is not None:
            processes.kill_group(self._identity.pid)
        processes.kill(processes.marked(self._mark))
