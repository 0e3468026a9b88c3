"""Definitions tell RabbitMQ of dutiful's vhost, its four users with the least rights, and its policies."""

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Final

from workers import roles

VHOST: Final = "dutiful"
POLICY: Final = "dutiful"
ROLES: Final = ("publisher", "worker", "operator", "metrics")
_TAKES_CONSUMER_TIMEOUT: Final = (3, 12)
_SALT_BYTES: Final = 4  # as RabbitMQ's own hashes have it


def definitions(
    queues: Iterable[str],
    *,
    vhost: str = VHOST,
    hashes: Mapping[str, str] | None = None,
    consumer_timeout_ms: int | None = None,
) -> dict[str, Any]:
    """What RabbitMQ's management API, `rabbitmqctl import_definitions` and `load_definitions` take.

    Parameters:
      queues: work queues of the jobs.
      vhost: whose users these are; their names begin with it.
      hashes: of passwords, by role; a user without one can't log in.
      consumer_timeout_ms: how long RabbitMQ waits for a settlement. Only RabbitMQ 3.12 and later take it.
    """
    work = sorted(queues)
    found = {
        "publisher": roles.publisher(),
        "worker": roles.worker(work),
        "operator": roles.operator(work),
        "metrics": roles.metrics(),
    }
    rules: dict[str, str | int] = {"queue-leader-locator": "balanced"}  # in a cluster no node has all the work
    if consumer_timeout_ms is not None:
        rules |= {"consumer-timeout": consumer_timeout_ms}
    return {
        "vhosts": [{"name": vhost}],
        "users": [
            {
                "name": user(vhost, name),
                "password_hash": (hashes or {}).get(name, ""),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": list(role.tags),
            }
            for name, role in found.items()
        ],
        "permissions": [
            {
                "user": user(vhost, name),
                "vhost": vhost,
                "configure": role.configure,
                "write": role.write,
                "read": role.read,
            }
            for name, role in found.items()
        ],
        "policies": [
            {
                "vhost": vhost,
                "name": POLICY,
                "pattern": ".*",
                "apply-to": "queues",
                "definition": rules,
                "priority": 0,
            }
        ],
    }


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version that say what RabbitMQ can do, such as (3, 12)."""
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def takes_consumer_timeout(version: str) -> bool:
    """Whether RabbitMQ takes consumer_timeout from a policy, and so tells it."""
    return release(version) >= _TAKES_CONSUMER_TIMEOUT


def user(vhost: str, role: str) -> str:
    """The name of a vhost's user."""
    return f"{vhost}-{role}"


def password_hash(password: str, salt: bytes | None = None) -> str:
    """What RabbitMQ keeps of a password."""
    salted = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    return base64.b64encode(salted + hashlib.sha256(salted + password.encode()).digest()).decode()
