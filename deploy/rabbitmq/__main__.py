"""Writes RabbitMQ's definitions, without passwords, to where they can be read and compared: definitions.json.

python -m deploy.rabbitmq      after a new queue
"""

from __future__ import annotations

import json
from pathlib import Path

from workers.users import definitions

COMMITTED = Path(__file__).parent / "definitions.json"


def written(facts: object) -> str:
    """Definitions as they lie in a file."""
    return json.dumps(facts, indent=2) + "\n"


def queues() -> set[str]:
    """The work queues of the site's jobs."""
    import actors  # noqa: F401, PLC0415  it sets the broker up, and only here
    from workers.broker import setup_broker  # noqa: PLC0415

    return set(setup_broker().get_declared_queues())


if __name__ == "__main__":
    COMMITTED.write_text(written(definitions(queues())), encoding="utf-8")
