"""Writes RabbitMQ's definitions: the committed file without passwords, or one for a server with hashes of yours.

python -m deploy.rabbitmq                                       # deploy/rabbitmq/definitions.json, after a new queue
python -m deploy.rabbitmq --passwords .env --into FILE.json     # for a server: load_definitions, import_definitions
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
from pathlib import Path

from deploy.rabbitmq.definitions import ROLES, VHOST, definitions, password_hash

COMMITTED = Path(__file__).parent / "definitions.json"
_BYTES = 24


def variable(role: str) -> str:
    """The variable with the password of a role."""
    return f"RABBITMQ_{role.upper()}_PASSWORD"


def passwords(path: Path) -> dict[str, str]:
    """The password of each role from lines NAME=value; one that is not there is drawn and added."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    given = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    drawn = {variable(role): secrets.token_hex(_BYTES) for role in ROLES if not given.get(variable(role), "").strip()}
    if drawn:
        kept = "".join(line + "\n" for line in text.splitlines() if line.partition("=")[0] not in drawn)
        write_private(path, kept + "".join(f"{name}={value}\n" for name, value in drawn.items()))
    return {role: (given | drawn)[variable(role)].strip() for role in ROLES}


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read; whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    beside.replace(path)


def written(facts: object) -> str:
    """Definitions as they lie in a file."""
    return json.dumps(facts, indent=2) + "\n"


def queues() -> set[str]:
    """The work queues of the site's jobs."""
    import actors  # noqa: F401, PLC0415  it sets the broker up, and only here
    from workers.broker import setup_broker  # noqa: PLC0415

    return set(setup_broker().get_declared_queues())


def main() -> None:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m deploy.rabbitmq", description="Write RabbitMQ's definitions.")
    parser.add_argument(
        "--passwords", type=Path, help=f"a file with {variable('worker')}=… and so on; drawn if missing"
    )
    parser.add_argument("--into", type=Path, help="where to write them; with --passwords, readable by you alone")
    parser.add_argument("--vhost", default=VHOST, help="the vhost, with which the users' names begin")
    parser.add_argument("--consumer-timeout-ms", type=int, help="a policy for RabbitMQ 3.12 and later")
    chosen = parser.parse_args()
    if (chosen.passwords is None) != (chosen.into is None):
        parser.error("--passwords and --into go together")
    hashes = None
    if chosen.passwords is not None:
        hashes = {role: password_hash(password) for role, password in passwords(chosen.passwords).items()}
    facts = definitions(queues(), vhost=chosen.vhost, hashes=hashes, consumer_timeout_ms=chosen.consumer_timeout_ms)
    if chosen.into is None:
        COMMITTED.write_text(written(facts), encoding="utf-8")
    else:
        write_private(chosen.into, written(facts))


if __name__ == "__main__":
    main()
