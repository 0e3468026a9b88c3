"""A schema says to other languages what an actor takes: JSON Schema 2020-12, made from its contract."""

from typing import Any, Final

from dramatiq import Broker

from workers.declaration import Actor
from workers.keys import KeyTemplate

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
# Our own words in a schema; JSON Schema ignores what it doesn't know.
OURS: Final = "x-dutiful"


def schemas(broker: Broker) -> dict[str, dict[str, Any]]:
    """The schema of every actor that has a contract, by its name."""
    found = {str(name): actor for name, actor in broker.actors.items() if isinstance(actor, Actor)}
    return {name: schema(found[name]) for name in sorted(found)}


def schema(actor: Actor[..., Any]) -> dict[str, Any]:
    """What an actor takes.

    Returns:
      JSON Schema of `kwargs`. Under "x-dutiful": `actor`; `version`, eight characters that change with what is
      accepted; `queue`; `key`, a template over the arguments, "message_id", or None where no record is kept; `owner`.
    """
    version = actor.contract.version
    key = actor.key.template if isinstance(actor.key, KeyTemplate) else actor.key and "message_id"
    about = {
        "actor": actor.actor_name,
        "version": version,
        "queue": actor.queue_name,
        "key": key,
        "owner": actor.card.owner,
    }
    return {
        "$schema": DIALECT,
        "$id": f"urn:dutiful:contract:{actor.actor_name}:{version}",
        "title": actor.actor_name,
        "description": actor.card.expects,
        OURS: about,
        **actor.contract.rules(),
    }


def version_of(document: dict[str, Any]) -> str:
    """Which version of its actor's contract a schema is."""
    return str(document[OURS]["version"])
