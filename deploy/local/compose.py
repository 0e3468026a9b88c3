"""Reads docker-compose.yml, and refuses what it doesn't understand instead of guessing."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from deploy.local.errors import StackError
from deploy.setup.passwords import known

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Keys that have no meaning without containers, each with the reason why leaving it out changes nothing.
IGNORED = {
    "hostname": "a private node is named by the runner",
    "init": "the guardian inherits and reaps what processes leave behind",
    "read_only": "a process of this host has this host's file system; the units of deploy/systemd do the same there",
    "tmpfs": "the host has a /tmp of its own",
    "cap_drop": "nothing is started with more rights than whoever runs the stack",
    "security_opt": "as above: there are no rights to gain",
    "mem_limit": "a limit of a container; deploy/systemd has MemoryMax",
    "cpus": "a limit of a container; deploy/systemd has CPUQuota",
    "logging": "logs are files in the run folder, which goes with them",
}
# Services that run in containers only, by image, each with the reason.
ONLY_IN_CONTAINERS = {
    "grafana/grafana": "Debian has no package of it; grafana/ is what any Grafana loads",
}
READ = {
    "image", "command", "environment", "depends_on", "healthcheck", "ports", "expose", "volumes", "restart",
    "stop_grace_period", "stop_signal", "working_dir", "build", "profiles",
}  # fmt: skip
READ_BUILD = {"context", "dockerfile", "args"}  # of which only args matter: the checkout itself is what runs
READ_HEALTHCHECK = {"test", "interval", "timeout", "retries", "start_period"}
READ_TOP_LEVEL = {"name", "services", "volumes"}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
RESTART = re.compile(r"no|always|unless-stopped|on-failure(:\d+)?")
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Za-z_]\w*)(?:(:?[-?])([^}]*))?\}|([A-Za-z_]\w*))")


@dataclass(frozen=True)
class Healthcheck:
    """How to tell that a service does its work; times in seconds."""

    test: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0


@dataclass(frozen=True)
class Mount:
    """A file or folder of this host (source begins with ./ or /), or a named volume, as the service sees it."""

    source: str
    target: str

    @property
    def is_named(self) -> bool:
        """Tell whether it is a named volume."""
        return not self.source.startswith((".", "/"))


@dataclass(frozen=True)
class Service:
    """One service of the compose file, as written there."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: dict[str, str]
    depends_on: dict[str, str]
    healthcheck: Healthcheck | None
    ports: tuple[int, ...]
    volumes: tuple[Mount, ...]
    restart: str
    stop_grace_seconds: float
    stop_signal: str
    working_dir: str
    build_arguments: dict[str, str]
    profiles: tuple[str, ...]


def read(
    path: Path,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    own: Mapping[str, str] | None = None,
) -> dict[str, Service]:
    """Return the services of a compose file; overrides are laid over it first, environments merged name by name.

    Parameters:
      own: variables that win over those of .env, as the shell's win over all.
    """
    variables = {**known(path.parent / ".env"), **(own or {}), **os.environ}
    document = _interpolated(yaml.safe_load(path.read_text(encoding="utf-8")), variables)
    _refuse_unknown(path.name, {key for key in document if not key.startswith("x-")}, READ_TOP_LEVEL)
    services: dict[str, dict[str, Any]] = document["services"]
    for name, changes in (overrides or {}).items():
        if name not in services:
            raise StackError(
                f"there is no service {name!r} to override", expected=f"one of {', '.join(services)}", received=name
            )
        services[name] = _overridden(services[name], changes)
    return {
        name: _service(name, body)
        for name, body in services.items()
        if body["image"].partition(":")[0] not in ONLY_IN_CONTAINERS
    }


def only_in_containers(path: Path) -> dict[str, str]:
    """Return the services that are left out on a host, each with the reason."""
    services = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    images = {name: body["image"].partition(":")[0] for name, body in services.items()}
    return {name: ONLY_IN_CONTAINERS[image] for name, image in images.items() if image in ONLY_IN_CONTAINERS}


def with_dependencies(services: Mapping[str, Service], wanted: list[str]) -> list[str]:
    """Return the wanted services and all they need, each after what it needs; all services when none is named."""
    ordered: list[str] = []

    def visit(name: str, chain: tuple[str, ...]) -> None:
        if name not in services:
            raise StackError(f"there is no service {name!r}", expected=f"one of {', '.join(services)}", received=name)
        if name in chain:
            raise StackError("services wait for each other in a circle", received=" → ".join([*chain, name]))
        for needed in services[name].depends_on:
            visit(needed, (*chain, name))
        if name not in ordered:
            ordered.append(name)

    for name in wanted or list(services):
        visit(name, ())
    return ordered


def enabled(services: Mapping[str, Service], variables: Mapping[str, str]) -> list[str]:
    """Return the services that start when none is named: those without a profile, and those of COMPOSE_PROFILES."""
    chosen = {name.strip() for name in variables.get("COMPOSE_PROFILES", "").split(",")}
    return [name for name, service in services.items() if not service.profiles or chosen & {*service.profiles, "*"}]


def one_shot(services: Mapping[str, Service]) -> set[str]:
    """Return the services that others wait for to have ended well."""
    needs = [need for service in services.values() for need in service.depends_on.items()]
    return {name for name, condition in needs if condition == "service_completed_successfully"}


def _service(name: str, body: dict[str, Any]) -> Service:
    _refuse_unknown(f"service {name}", set(body), READ | set(IGNORED))
    restart = body.get("restart", "no")
    if not RESTART.fullmatch(restart):
        raise StackError(f"service {name} has an unknown restart policy", expected=RESTART.pattern, received=restart)
    return Service(
        name=name,
        image=body["image"],
        command=_words(body.get("command", ())),
        environment=_environment(body.get("environment", {})),
        depends_on=_depends_on(name, body.get("depends_on", {})),
        healthcheck=_healthcheck(name, body.get("healthcheck")),
        ports=tuple(_container_port(entry) for entry in [*body.get("ports", ()), *body.get("expose", ())]),
        volumes=tuple(_mount(entry) for entry in body.get("volumes", ())),
        restart=restart,
        stop_grace_seconds=seconds(body.get("stop_grace_period", "10s")),
        stop_signal=body.get("stop_signal", ""),
        working_dir=body.get("working_dir", ""),
        build_arguments=_build_arguments(name, body.get("build", {})),
        profiles=tuple(body.get("profiles", ())),
    )


def seconds(text: str) -> float:
    """Return the seconds of a compose duration such as 1m30s."""
    match = DURATION.fullmatch(str(text))
    if not match or not any(match.groups()):
        raise StackError("a duration can't be read", expected="such as 1m30s", received=repr(text))
    hours, minutes, whole, thousandths = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + whole + thousandths / 1000


def _refuse_unknown(where: str, keys: set[str], known: set[str]) -> None:
    unknown = sorted(keys - known)
    if unknown:
        raise StackError(
            f"{where} has a key that the local stack does not understand",
            expected=f"one of {', '.join(sorted(known))}; or list it in compose.IGNORED with a reason",
            received=", ".join(unknown),
        )


def _overridden(body: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**body, **changes}
    if "environment" in changes:
        merged["environment"] = {**_environment(body.get("environment", {})), **_environment(changes["environment"])}
    return merged


def _words(command: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(shlex.split(command)) if isinstance(command, str) else tuple(str(word) for word in command)


def _environment(entries: Mapping[str, Any] | list[str]) -> dict[str, str]:
    pairs = dict(entry.split("=", 1) for entry in entries) if isinstance(entries, list) else dict(entries)
    for name, value in pairs.items():
        if isinstance(value, bool) or value is None:
            raise StackError(
                f"environment variable {name} is not text", expected='quotes, such as "true"', received=repr(value)
            )
    return {name: str(value) for name, value in pairs.items()}


def _depends_on(name: str, entries: Mapping[str, Mapping[str, str]] | list[str]) -> dict[str, str]:
    if isinstance(entries, list):
        return dict.fromkeys(entries, "service_started")
    conditions = {needed: options.get("condition", "service_started") for needed, options in entries.items()}
    for condition in conditions.values():
        if condition not in CONDITIONS:
            raise StackError(
                f"service {name} waits for an unknown condition",
                expected=f"one of {', '.join(sorted(CONDITIONS))}",
                received=condition,
            )
    return conditions


def _build_arguments(name: str, body: dict[str, Any]) -> dict[str, str]:
    _refuse_unknown(f"build of {name}", set(body), READ_BUILD)
    return _environment(body.get("args", {}))


def _healthcheck(name: str, body: dict[str, Any] | None) -> Healthcheck | None:
    if body is None:
        return None
    _refuse_unknown(f"healthcheck of {name}", set(body), READ_HEALTHCHECK)
    test = body["test"]
    if isinstance(test, str):
        test = ["CMD-SHELL", test]
    if test[0] == "NONE":
        return None
    times = {key: seconds(body[key]) for key in ("interval", "timeout", "start_period") if key in body}
    words = ["sh", "-c", test[1]] if test[0] == "CMD-SHELL" else test[1:]
    return Healthcheck(test=_words(words), retries=int(body.get("retries", 3)), **times)


def _container_port(entry: str | int) -> int:
    return int(str(entry).rsplit(":", 1)[-1].removesuffix("/tcp"))


def _mount(entry: str) -> Mount:
    source, target = entry.split(":")[:2]
    return Mount(source, target)


def _interpolated(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _interpolated(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolated(value, variables) for value in node]
    return VARIABLE.sub(lambda match: _value(match, variables), node) if isinstance(node, str) else node


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    dollar, braced, operator, word, bare = match.groups()
    if dollar:
        return "$"
    value = variables.get(braced or bare)
    if operator in {":-", ":?"}:
        value = value or None  # with the colon, empty counts as absent
    if value is None and operator in {"?", ":?"}:
        raise StackError(
            f"variable {braced} is needed by the compose file", expected=word or "a value", received="none"
        )
    return (word or "") if value is None else value
