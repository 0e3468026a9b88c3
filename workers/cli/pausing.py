"""Pausing and resuming are the same orders for actors, queues and schedules."""

import sys
from collections.abc import Callable, Collection
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli.moments import moment, written
from workers.errors import ConfigurationError

if TYPE_CHECKING:
    from workers.store.pauses import Kind, Pause

Reason = Annotated[str, typer.Option(help="Why; it is shown, and kept in the audit trail.")]
Until = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="When it ends by itself, as 2026-11-22T18:00Z.")
]


def pause(kind: "Kind", name: str, known: Collection[str], *, reason: str, until: datetime | None) -> None:
    """Pause it, or change reason and end of a pause.

    Raises:
      ConfigurationError: there is no such thing, no reason, or the end has passed.
      StoreUnavailable: the store can't be reached.
    """
    from workers.clock import utcnow  # noqa: PLC0415  only what a command uses is loaded
    from workers.store import pauses  # noqa: PLC0415

    _refuse_unknown(kind, name, known)
    if not reason.strip():
        raise ConfigurationError(f"the {kind} {name} can't be paused", expected="--reason", received=repr(reason))
    if until is not None and until <= utcnow():
        raise ConfigurationError(
            f"the {kind} {name} can't be paused", expected="--until in the future", received=written(until)
        )
    _with_connection(lambda connection: pauses.pause(connection, kind, name, reason=reason, until=until))
    lasts = f"until {written(until)}" if until else f"until: dutiful {kind}s resume {name}"
    sys.stdout.write(f"{kind} {name}: paused, {lasts}\n")


def resume(kind: "Kind", name: str) -> None:
    """End a pause. Exit status 1: it was not paused.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    from workers.store import pauses  # noqa: PLC0415

    if not _with_connection(lambda connection: pauses.resume(connection, kind, name)):
        sys.stderr.write(f"{kind} {name}: was not paused\n")
        raise typer.Exit(1)
    sys.stdout.write(f"{kind} {name}: resumed\n")


def paused(kind: "Kind") -> "tuple[dict[str, Pause], str | None]":
    """What is paused now, by name, and why that can't be told, if so: a list is worth having without it."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from workers.errors import StoreError  # noqa: PLC0415
    from workers.store import pauses  # noqa: PLC0415

    try:
        found = _with_connection(lambda connection: pauses.read(connection, kind))
    except (StoreError, SQLAlchemyError) as error:
        return {}, f"what is paused can't be told: {str(error).splitlines()[0]}"
    return {each.name: each for each in found if each.active}, None


def told(found: "Pause | None") -> str:
    """What a list says of a pause."""
    if found is None:
        return ""
    return found.reason + (f" (until {written(found.until)})" if found.until else "")


def _refuse_unknown(kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ConfigurationError(
            f"there is no {kind} {name}", expected=f"one of {', '.join(sorted(known))}", received=name
        )


def _with_connection(act: Callable[[Any], Any]) -> Any:
    from workers.cli.store import with_store  # noqa: PLC0415
    from workers.store.engine import begin  # noqa: PLC0415

    def acted(engine: Any) -> Any:
        with begin(engine) as connection:
            return act(connection)

    return with_store(acted)
