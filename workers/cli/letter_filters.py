"""The options that choose dead letters are the same for every command about them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from workers.cli.moments import duration

if TYPE_CHECKING:
    from workers.choice import Choice

Ids = Annotated[list[str] | None, typer.Option("--id", help="Only this message's; may be repeated.")]
Queue = Annotated[str | None, typer.Option(help="Only this work queue's, or dutiful.undeliverable.")]
Actor = Annotated[str | None, typer.Option(help="Only this actor's.")]
DiedOf = Annotated[str | None, typer.Option(help="Only those with this reason, such as retries_exhausted.")]
Fingerprint = Annotated[str | None, typer.Option(help="Only this group: list --group shows it.")]
OlderThan = Annotated[str | None, typer.Option(help="Only what failed longer ago: 30m, 12h, 7d.")]
NewerThan = Annotated[str | None, typer.Option(help="Only what failed since: 30m, 12h, 7d.")]


def choice(  # noqa: PLR0917  one for each option
    ids: Sequence[str] | None,
    queue: str | None,
    actor: str | None,
    reason: str | None,
    fingerprint: str | None,
    ages: Sequence[str | None],
    *,
    everything: bool = True,
) -> "Choice":
    """What the options choose.

    Parameters:
      ages: older than, newer than.
      everything: no filter at all means all of them; else it is refused.
    """
    from workers.choice import Choice  # noqa: PLC0415  only what a command uses is loaded

    older, newer = (None if each is None else duration(each) for each in ages)
    chosen = Choice(queue, frozenset(ids or ()), actor, reason, fingerprint, older, newer)
    if not everything and chosen == Choice():
        raise typer.BadParameter("say which: --id, --fingerprint, --actor, --queue, …, or --all")
    return chosen
