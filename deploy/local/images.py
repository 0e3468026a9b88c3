"""Knows, for each image of the compose file, which program of this host stands in for it and how it is started."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local import postgres, rabbitmq
from deploy.local.errors import StackError
from deploy.local.folders import CHECKOUT
from deploy.setup import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deploy.local.compose import Service
    from deploy.local.folders import Folders


@dataclass(frozen=True)
class Launch:
    """How to start a service on this host.

    Parameters:
      command: the program and its arguments.
      environment: the whole environment; nothing is inherited.
      folder: the working directory.
      stop_signal: what asks the program to end in good order.
      user: whom it runs as, where that is not whoever runs the stack.
    """

    command: list[str]
    environment: dict[str, str]
    folder: Path
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None


@dataclass(frozen=True)
class Part:
    """What a stand-in has to know: the service with all its addresses and paths as they are on this host."""

    service: Service
    command: list[str]
    environment: dict[str, str]
    ports: Mapping[int, int]
    paths: Mapping[str, Path]
    folders: Folders
    path: str = field(default=os.defpath)

    @property
    def folder(self) -> Path:
        """Return where the service's configuration lies."""
        return self.folders.service(self.service.name)

    def base_environment(self, *program_folders: Path) -> dict[str, str]:
        """Return the few variables that every program needs; the shell's own are left out, as in a container."""
        path = os.pathsep.join([*map(str, program_folders), os.environ.get("PATH", self.path)])
        inherited = {name: os.environ[name] for name in ("TMPDIR", "TZ") if name in os.environ}
        return {**inherited, "PATH": path, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}


def _ours(part: Part) -> Launch:
    return Launch(
        command=part.command,
        environment={
            **part.base_environment(Path(sys.executable).parent),
            "PYTHONUNBUFFERED": "1",
            **_built_in(part.service),
            **part.environment,
        },
        folder=Path(part.service.working_dir or CHECKOUT),
    )


def _built_in(service: Service) -> dict[str, str]:
    """Return what deploy/Dockerfile makes variables of the image."""
    return {f"DUTIFUL_{name}": value for name, value in service.build_arguments.items() if value}


def _prometheus(part: Part) -> Launch:
    return _as_it_is(part, servers.PROMETHEUS)


def _alertmanager(part: Part) -> Launch:
    return _as_it_is(part, servers.ALERTMANAGER)


def _as_it_is(part: Part, server: servers.Server) -> Launch:
    """Start a program that takes the image's own arguments."""
    program = program_of(server)
    return Launch(
        command=[str(program), *part.command],
        environment={**part.base_environment(program.parent), **part.environment},
        folder=part.folder,
    )


def _rabbitmq(part: Part) -> Launch:
    program = program_of(servers.RABBITMQ)
    environment = {**part.base_environment(program.parent), **part.environment}
    return Launch(
        command=rabbitmq.command(program),
        environment=environment | rabbitmq.prepare(part.folder, part.ports, part.paths),
        folder=part.folder,
    )


def _postgres(part: Part) -> Launch:
    program = program_of(servers.POSTGRES)
    data = part.paths[postgres.DATA]
    user = postgres.user()
    environment = {**part.base_environment(program.parent), **part.environment}
    postgres.prepare(program.parent, data, environment, user)
    return Launch(
        command=postgres.command(program, data, part.ports, part.command),
        environment=environment,
        folder=data,
        stop_signal=signal.SIGINT,  # fast shutdown, as the image has it; SIGTERM would wait for every client to leave
        user=user,
    )


IMAGES: dict[str, Callable[[Part], Launch]] = {
    "dutiful": _ours,
    "rabbitmq": _rabbitmq,
    "postgres": _postgres,
    "prom/prometheus": _prometheus,
    "prom/alertmanager": _alertmanager,
}
EXTRA_PORTS = {"rabbitmq": rabbitmq.EXTRA_PORTS}
"""Ports that an image uses without saying so in the compose file."""


def launch(part: Part) -> Launch:
    """Prepare a service's files and return how to start it."""
    return IMAGES[image_name(part.service)](part)


def image_name(service: Service) -> str:
    """Return the image without its tag, if there is a stand-in for it."""
    name = service.image.partition(":")[0]
    if name not in IMAGES:
        raise StackError(
            f"service {service.name} has an image that has no stand-in without Docker",
            expected=f"one of {', '.join(IMAGES)} (images.py)",
            received=service.image,
        )
    return name


def all_ports(service: Service) -> list[int]:
    """Return the ports of the compose file, and those that the image uses besides."""
    return [*service.ports, *EXTRA_PORTS.get(image_name(service), ())]


def program_of(server: servers.Server) -> Path:
    """Return where a server's program lies."""
    program = server.find()
    if program is None:
        raise StackError(
            f"{server.name} is not installed",
            expected=f"`make setup`, or {server.program} from your system's packages",
            received=f"no {server.program} in {', '.join(server.folders)} or on PATH",
        )
    return program
