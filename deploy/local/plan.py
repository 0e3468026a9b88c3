"""Turns the compose file and an order into what each service needs on this host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local import compose, images, postgres, rabbitmq
from deploy.local.addresses import LOOPBACK, Addresses, Ports
from deploy.setup.passwords import known

if TYPE_CHECKING:
    from deploy.local.compose import Mount, Service
    from deploy.local.folders import Folders

HOST_PREFIXES = ("DUTIFUL_", "SITE_")
NOT_FOR_THE_HOST = "DUTIFUL_METRICS__"
"""The worker's own port: a second process that took it would fail."""


@dataclass(frozen=True)
class Plan:
    """Every service with its real addresses."""

    folders: Folders
    compose_file: Path
    services: dict[str, Service]
    ports: Ports

    @classmethod
    def read(cls, folders: Folders, order: dict[str, Any]) -> Plan:
        """Read the compose file that an order names; its ports are strings in JSON."""
        path = Path(order["compose_file"])
        ports = {
            name: {int(inside): outside for inside, outside in each.items()} for name, each in order["ports"].items()
        }
        return cls(folders, path, compose.read(path, order["overrides"], known(folders.passwords)), ports)

    def launch(self, name: str) -> images.Launch:
        """Prepare a service's files and return how to start it."""
        service = self.services[name]
        self.folders.service(name).mkdir(parents=True, exist_ok=True)
        paths = self.paths(service)
        for mount in service.volumes:
            self._prepare(service, mount, paths[mount.target])
        addresses = Addresses(name, self.ports, paths)
        part = images.Part(
            service=service,
            command=[addresses.text(word) for word in service.command],
            environment=addresses.environment(service.environment),
            ports=self.ports[name],
            paths=paths,
            folders=self.folders,
        )
        return images.launch(part)

    def health_test(self, name: str) -> list[str]:
        """Return a service's health check with addresses as on this host; nothing where it has none."""
        check = self.services[name].healthcheck
        return [Addresses(name, self.ports).text(word) for word in check.test] if check else []

    def host_environment(self) -> dict[str, str]:
        """Return what a program on this host needs to reach the stack: the worker's variables, and the operator's."""
        variables: dict[str, str] = {}
        for name in ("worker", "operator"):
            service = self.services.get(name)
            if service is not None:
                variables |= Addresses(name, self.ports, self.paths(service)).environment(service.environment)
        return {
            name: value
            for name, value in variables.items()
            if name.startswith(HOST_PREFIXES) and not name.startswith(NOT_FOR_THE_HOST)
        }

    def administrator(self) -> str:
        """Return RabbitMQ's address with the user who may do everything; nothing where there is no RabbitMQ."""
        service = self.services.get("rabbitmq")
        if service is None:
            return ""
        told = service.environment
        login = f"{told['RABBITMQ_DEFAULT_USER']}:{told['RABBITMQ_DEFAULT_PASS']}"
        port = self.ports["rabbitmq"][rabbitmq.AMQP]
        return f"amqp://{login}@{LOOPBACK}:{port}/{told['RABBITMQ_DEFAULT_VHOST']}"

    def paths(self, service: Service) -> dict[str, Path]:
        """Return where each path inside the service's volumes lies on this host."""
        return {mount.target: self._outside(service, mount) for mount in service.volumes}

    def _outside(self, service: Service, mount: Mount) -> Path:
        if mount.is_named:
            other_user = mount.target == postgres.DATA and postgres.user() is not None
            return self.folders.volume(mount.source, for_another_user=other_user)
        source = self._source(mount)
        return self.folders.service(service.name) / Path(mount.target).name if source.is_file() else source

    def _prepare(self, service: Service, mount: Mount, outside: Path) -> None:
        """Make folders that are missing, as Docker does, and copies of files with real addresses in them."""
        if mount.target == postgres.DATA:
            return  # made by its owner, empty
        source = self._source(mount)
        if mount.is_named or not source.is_file():
            outside.mkdir(parents=True, exist_ok=True)
        else:
            text = source.read_text(encoding="utf-8")
            outside.write_text(Addresses(service.name, self.ports).text(text), encoding="utf-8")

    def _source(self, mount: Mount) -> Path:
        return (self.compose_file.parent / mount.source).resolve()
