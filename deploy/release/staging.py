"""Verifies the configuration of a staging or production host before anything is started there.

python -m deploy.release.staging FILE      the .env of that host
"""

# ruff: noqa: T201  it speaks to a person
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.local import StackError, compose
from deploy.local.folders import COMPOSE_FILE
from deploy.setup.passwords import known, needed
from workers.errors import ConfigurationError
from workers.settings import Settings

PASSWORDS = tuple(needed(COMPOSE_FILE))
SHORTEST = 16
DEPLOYED = ("staging", "production")
OURS = "dutiful:development"
"""Built here, from this commit."""


def faults(variables: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong, in sentences.

    Parameters:
      variables: of the host's .env; this process's own don't count.
    """
    for name in PASSWORDS:
        given = variables.get(name, "")
        if len(given) < SHORTEST or not given.isalnum():
            yield f"{name} must be {SHORTEST} letters and digits or more: `make env` makes such"
    if variables.get("DUTIFUL_ENVIRONMENT") not in DEPLOYED:
        yield f"DUTIFUL_ENVIRONMENT must be one of {', '.join(DEPLOYED)}"
    os.environ.clear()
    os.environ.update(variables)
    try:
        services = compose.read(COMPOSE_FILE)
    except StackError as error:
        yield str(error)
        return
    for service in services.values():
        if not any(letter.isdigit() for letter in service.image.partition(":")[2]) and service.image != OURS:
            yield f"{service.name}: {service.image} is not pinned to a version"
        yield from _wrong_settings(service)


def _wrong_settings(service: compose.Service) -> Iterator[str]:
    """Yield why the service's settings can't be used, where it has some."""
    if service.image != OURS:
        return
    os.environ.clear()
    os.environ.update(service.environment)
    try:
        loaded = Settings.load()
    except ConfigurationError as error:
        yield f"{service.name}: {error}"
        return
    if not loaded.store.url.get_secret_value().startswith("postgresql"):
        yield f"{service.name}: its store must be PostgreSQL"


def main(arguments: list[str]) -> int:
    """Say what is wrong; status 1 when something is."""
    file = Path(arguments[0] if arguments else ".env")
    if not file.is_file():
        print(f"there is no {file}; it belongs on the host alone, and .env.example says what can be in it")
        return 1
    found = list(faults(known(file)))
    for fault in found:
        print(f"wrong: {fault}")
    if not found:
        print(f"{file} and {COMPOSE_FILE.name} give settings that work")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
