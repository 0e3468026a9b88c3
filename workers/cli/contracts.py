"""`dutiful contracts` tells other services what actors take, and guards the messages that wait."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from workers.cli.output import Json, document, show
from workers.cli.package import Package, broker_of

contracts = typer.Typer(no_args_is_help=True, help="What actors take, for other services.")

Folder = Annotated[Path, typer.Option("--folder", help="Where the exported contracts are.")]
HERE = Path("docs/contracts")


@contracts.command("export")
def export_contracts(package: Package = "actors", *, folder: Folder = HERE, as_json: Json = False) -> None:
    """Write the JSON Schema of each actor into a folder, to be committed. An earlier version stays beside it."""
    from workers.exported import export  # noqa: PLC0415  only what a command uses is loaded
    from workers.schemas import schemas  # noqa: PLC0415

    changes = export(schemas(broker_of(package)), folder)
    show([asdict(each) for each in changes], as_json=as_json, nothing="no actor has a contract")
    gone = [each.actor for each in changes if each.change == "gone"]
    if gone and not as_json:
        sys.stdout.write(f"  no such actor any more: {', '.join(gone)}; delete what no message that waits needs\n")


@contracts.command("check")
def check_contracts(package: Package = "actors", *, folder: Folder = HERE, as_json: Json = False) -> None:
    """Compare the actors with the exported contracts. Changes nothing. Exit status 1: what waits would break."""
    from workers.exported import check  # noqa: PLC0415
    from workers.schemas import schemas  # noqa: PLC0415

    known = schemas(broker_of(package))
    found = check(known, folder)
    broken = [each for each in found if each.severity == "breaks"]
    if as_json:
        document([asdict(each) for each in found])
    else:
        for each in found:
            what = " ".join(filter(None, (each.actor, each.where)))
            sys.stdout.write(f"{each.severity}: {what} (version {each.version}): {each.why}\n")
            sys.stdout.write(f"  {each.rollout}\n")
        if not broken:
            sys.stdout.write(f"{len(known)} actors: no message that waits would break\n")
    if broken:
        raise typer.Exit(1)
