"""`dutiful tokens` says who may send jobs through the gateway."""

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from workers.cli.output import Json, show
from workers.cli.package import Package, broker_of
from workers.errors import ConfigurationError

tokens = typer.Typer(no_args_is_help=True, help="Who may send jobs through the gateway.")

Name = Annotated[str, typer.Argument(help="Whose it is, such as the other service's name.")]


@tokens.command("add")
def add_token(
    name: Name,
    package: Package = "actors",
    *,
    actor: Annotated[list[str], typer.Option(help="Whose jobs it may send; several times for several, '*' for all.")],
) -> None:
    """Make a token and show it, this once: the store keeps a digest only."""
    from workers.store import tokens as library  # noqa: PLC0415  only what a command uses is loaded

    known = broker_of(package).actors
    for each in actor:
        if each != library.EVERY and each not in known:
            raise ConfigurationError(
                f"there is no actor {each}", expected=f"'*', or one of {', '.join(sorted(known))}", received=each
            )
    sys.stdout.write(f"{_with_connection(lambda connection: library.add(connection, name, actor))}\n")
    sys.stderr.write("It is not shown again. Gateways know it in two seconds.\n")


@tokens.command("list")
def list_tokens(as_json: Json = False) -> None:
    """Every token by name, without its secret: what it is for, and since when it is no good."""
    from workers.store import tokens as library  # noqa: PLC0415

    rows = [
        {
            "name": each.name,
            "id": each.id,
            "actors": ", ".join(sorted(each.actors)),
            "since": f"{each.created_at:%Y-%m-%d %H:%M:%S} UTC",
            "revoked": each.revoked_at and f"{each.revoked_at:%Y-%m-%d %H:%M:%S} UTC",
        }
        for each in _with_connection(library.read)
    ]
    show(rows, as_json=as_json, nothing="no tokens")


@tokens.command("revoke")
def revoke_token(
    name: Name, *, reason: Annotated[str, typer.Option(help="Why; it is kept in the audit trail.")]
) -> None:
    """Let a token be good for nothing, within two seconds. Exit status 1: there is no good one of that name."""
    from workers.store import tokens as library  # noqa: PLC0415

    if not _with_connection(lambda connection: library.revoke(connection, name, reason=reason)):
        sys.stderr.write(f"{name}: there is no token of that name, or it was revoked before\n")
        raise typer.Exit(1)
    sys.stdout.write(f"{name}: revoked; gateways know it in two seconds\n")


def _with_connection(act: Callable[[Any], Any]) -> Any:
    from workers.cli.store import with_store  # noqa: PLC0415
    from workers.store.engine import begin  # noqa: PLC0415

    def acted(engine: Any) -> Any:
        with begin(engine) as connection:
            return act(connection)

    return with_store(acted)
