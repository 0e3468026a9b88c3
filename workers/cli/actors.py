"""`dutiful actors` tells what can be run as a job."""

import json
import sys
from typing import Any

import typer

from workers.cli import pausing
from workers.cli.output import Json, show
from workers.cli.package import Package, broker_of
from workers.cli.pausing import Reason, Until
from workers.errors import ConfigurationError

actors = typer.Typer(no_args_is_help=True, help="What can be run as a job.")


@actors.command("list")
def list_actors(package: Package = "actors", as_json: Json = False) -> None:
    """Every actor, with its queue, key and owner. One without a card is a plain Dramatiq actor."""
    broker = broker_of(package)
    pauses, trouble = pausing.paused("actor")
    rows = [
        {
            "actor": actor.actor_name,
            "queue": actor.queue_name,
            "key": key_of(actor),
            "owner": getattr(getattr(actor, "card", None), "owner", None) or "no card",
            "paused": None if trouble else pausing.told(pauses.get(actor.actor_name)),
        }
        for actor in sorted(broker.actors.values(), key=lambda actor: str(actor.actor_name))
    ]
    show(rows, as_json=as_json, nothing="no actors")
    if trouble and not as_json:
        sys.stdout.write(f"  {trouble}\n")


@actors.command("show")
def show_actor(name: str, package: Package = "actors", as_json: Json = False) -> None:
    """One actor: its job card, its arguments, and its limits."""
    broker = broker_of(package)
    if name not in broker.actors:
        raise ConfigurationError(
            f"there is no actor {name}", expected=f"one of {', '.join(sorted(broker.actors))}", received=name
        )
    actor = broker.actors[name]
    card = getattr(actor, "card", None)
    facts: dict[str, Any] = {
        "actor": actor.actor_name,
        "queue": actor.queue_name,
        "arguments": str(getattr(getattr(actor, "contract", None), "signature", "anything")),
        "key": key_of(actor),
        "owner": card.owner if card else None,
        "expects": card.expects if card else None,
        "rollback": card.rollback if card else None,
        "options": {option: repr(value) for option, value in sorted(actor.options.items())},
    }
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return
    for fact, value in facts.items():
        text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
        sys.stdout.write(f"{fact + ':':<11}{text if text is not None else 'not said'}\n")


@actors.command("pause")
def pause_actor(name: str, package: Package = "actors", *, reason: Reason, until: Until = None) -> None:
    """Let no job of an actor begin, on any worker, within two seconds. Its messages wait aside, and are not charged."""
    pausing.pause("actor", name, broker_of(package).actors, reason=reason, until=until)


@actors.command("resume")
def resume_actor(name: str) -> None:
    """Let an actor's jobs begin again. Exit status 1: it was not paused."""
    pausing.resume("actor", name)


def key_of(actor: Any) -> str:
    """What an actor's key is made of, in words."""
    from workers.keys import KeyTemplate  # noqa: PLC0415

    key = getattr(actor, "key", "the message id")
    return key.template if isinstance(key, KeyTemplate) else key or "none: no record is kept"
