"""Starts, watches and stops a local stack, from tests, from the demo and from the command line."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploy.local import compose, control, order, processes, screen
from deploy.local.errors import StackError
from deploy.local.folders import COMPOSE_FILE, DEFAULT_RUN_FOLDER, Folders
from deploy.setup import passwords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

START_SECONDS = 180.0
POLL_SECONDS = 0.1
LAST_LINES = 50  # all that `dutiful doctor` says
HOPELESS_RESTARTS = 4  # so many in a row without ever being healthy: say so instead of waiting on


def _quiet(_line: str) -> None:
    """Say nothing."""


class Stack:
    """A running stack. Leaving the `with` block stops it.

    Parameters:
      run_folder: where its files are; two stacks in two folders know nothing of each other.
    """

    def __init__(self, run_folder: Path | str = DEFAULT_RUN_FOLDER) -> None:
        self.run_folder = Path(run_folder).resolve()
        self._folders = Folders(self.run_folder)

    @classmethod
    def start(
        cls,
        run_folder: Path | str = DEFAULT_RUN_FOLDER,
        *,
        services: Sequence[str] = (),
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        compose_file: Path = COMPOSE_FILE,
        attached: bool = True,
        wait: bool = True,
        timeout: float = START_SECONDS,
        say: Callable[[str], None] = _quiet,
    ) -> Self:
        """Start services with what they depend on, and wait until they are healthy.

        Where none is named, those without a profile start, and those of COMPOSE_PROFILES. An attached stack ends with
        the process that started it, even when that is killed. Should the folder hold a stack that runs already, the
        services are started there and there must be no overrides.
        """
        stack = cls(run_folder)
        stack._folders.create()
        with stack._locked():
            declared, wanted = stack._read(compose_file, overrides, list(services))
            if control.guardian(stack._folders) is None:
                stack._clear_stale()
                order.write(stack._folders, declared, wanted, overrides or {}, compose_file, attached=attached)
                order.launch(stack._folders, timeout)
            elif overrides:
                raise StackError(
                    "a stack runs in this folder already, so its services can't be changed",
                    expected="no overrides, or a stack that was stopped",
                    received=str(stack.run_folder),
                )
            else:
                stack.start_service(*wanted)
        if wait:
            with stack._stopped_on_error() if attached else nullcontext():
                stack.wait_healthy(*wanted, timeout=timeout, say=say)
        return stack

    def _read(
        self, compose_file: Path, overrides: Mapping[str, Mapping[str, Any]] | None, services: list[str]
    ) -> tuple[dict[str, compose.Service], list[str]]:
        """Return what the compose file declares, and what shall run; passwords that nobody has given are made."""
        outside = {**passwords.known(compose_file.parent / ".env"), **os.environ}
        own = passwords.known(self._folders.passwords)
        passwords.add(self._folders.passwords, passwords.needed(compose_file), outside | own)
        declared = compose.read(compose_file, overrides, passwords.known(self._folders.passwords))
        return declared, compose.with_dependencies(declared, services or compose.enabled(declared, outside))

    @contextmanager
    def _stopped_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Tell whether there is a stack in the folder."""
        return control.guardian(self._folders) is not None

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a program on this host reaches the stack, as RabbitMQ's operator."""
        return dict(self._record()["environment"])

    @property
    def administrator(self) -> str:
        """The AMQP address of the stack's RabbitMQ, with the user who may do everything there."""
        return str(self._record()["administrator"])

    def port(self, service: str, port: int) -> int:
        """Return the port on 127.0.0.1 that stands for a port of the compose file."""
        return int(self._record()["ports"][service][str(port)])

    def url(self, service: str, port: int) -> str:
        """Return the address of a service's port for a browser."""
        return f"http://127.0.0.1:{self.port(service, port)}"

    def status(self) -> dict[str, dict[str, Any]]:
        """Return each service's state, health, pid, exit_code, restarts, reason, and whether it is one_shot."""
        return dict(control.ask(self._folders, do="status")["services"])

    def pid(self, service: str) -> int:
        """Return the main process of a service."""
        status = self.status()[service]
        if status["pid"] is None:
            raise StackError(f"{service} is not running", received=status["state"], safe_to_retry=True)
        return int(status["pid"])

    def children(self, service: str) -> list[int]:
        """Return the main process's children, the oldest first: for a worker, Dramatiq's worker processes lead."""
        return processes.children(self.pid(service))

    def kill(self, service: str, *, child: int | None = None, number: int = signal.SIGKILL) -> int:
        """Send a signal to a service's main process or to one of its children; return who got it.

        SIGKILL without a child takes the whole service, as it would take a container.
        """
        return int(control.ask(self._folders, do="kill", service=service, signal=number, child=child)["killed"])

    def start_service(self, *services: str) -> None:
        """Start services that are stopped, with what they need; wait_healthy waits for them."""
        control.ask(self._folders, do="start", services=list(services))

    def stop_service(self, *services: str) -> None:
        """Stop services in good order, and keep them stopped."""
        control.ask(self._folders, do="stop", services=list(services))

    def restart_service(self, *services: str) -> None:
        """Stop services in good order and start them again."""
        control.ask(self._folders, do="restart", services=list(services))

    def logs(self, service: str, last_lines: int | None = None) -> str:
        """Return what a service has written so far."""
        log = self._folders.log(service)
        text = log.read_text(errors="replace") if log.exists() else ""
        return text if last_lines is None else "\n".join(text.splitlines()[-last_lines:])

    def wait_healthy(self, *services: str, timeout: float = START_SECONDS, say: Callable[[str], None] = _quiet) -> None:
        """Wait until services are healthy (one-shot ones: have succeeded), or show the log of one that is not."""
        deadline = time.monotonic() + timeout
        announced: dict[str, str] = {}
        while True:
            states = self.status()
            names = services or [name for name, each in states.items() if each["state"] != "stopped"]
            waiting = [name for name in names if not self._is_well(name, states[name])]
            for name in names:
                word = screen.in_words(states[name])
                if announced.get(name) != word:
                    announced[name] = word
                    say(f"{name}: {word}")
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise self._not_healthy(waiting[0], states[waiting[0]], f"healthy within {timeout:.0f} s")
            time.sleep(POLL_SECONDS)

    def stop(self, *, remove: bool = False) -> None:
        """Stop every service and wait until no process of the stack is left.

        With remove, the data goes as well; then services are killed, since there is nothing to close in good order.
        """
        with self._locked(create=False):
            guardian = control.guardian(self._folders)
            if guardian is not None:
                with suppress(StackError):  # it is ending already, or its supervisor was killed: the guardian clears up
                    control.ask(self._folders, do="shutdown", in_good_order=not remove)
                while guardian.is_alive():
                    time.sleep(POLL_SECONDS / 5)
            self._clear_stale()
        if remove:
            self._folders.remove()
        else:
            self._folders.remove_outside_if_empty()

    def _is_well(self, name: str, status: dict[str, Any]) -> bool:
        """Tell whether a service is where it should be; raise when it never will be."""
        if status["state"] == "running" and status["health"] in {"healthy", "none"} and not status["one_shot"]:
            return True
        if status["state"] == "exited" and status["exit_code"] == 0 and status["one_shot"]:
            return True
        hopeless = status["health"] == "unhealthy" or status["restarts"] >= HOPELESS_RESTARTS
        if status["state"] in {"failed", "exited", "stopped"} or hopeless:
            raise self._not_healthy(name, status, "healthy")
        return False

    def _not_healthy(self, name: str, status: dict[str, Any], expected: str) -> StackError:
        log = self.logs(name, LAST_LINES)
        return StackError(
            f"{name} did not start\n--- last lines of {self._folders.log(name)} ---\n{log}\n---\n{name}",
            expected=expected,
            received=status["reason"] or screen.in_words(status),
            safe_to_retry=True,
        )

    def _record(self) -> dict[str, Any]:
        record = control.record(self._folders)
        if record is None:
            raise StackError("there is no stack", expected="one that was started", received=str(self.run_folder))
        return record

    def _clear_stale(self) -> None:
        """Kill what a stack left that was itself killed, guardian and all."""
        processes.kill(processes.marked(self._folders.mark))

    @contextmanager
    def _locked(self, *, create: bool = True) -> Iterator[None]:
        """Let one process at a time start or stop this stack."""
        if not create and not self.run_folder.exists():
            yield
            return
        with self._folders.lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
