"""`dutiful dead-letters` shows why jobs failed, and sends them again or throws them away."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workers.cli.letter_filters import Actor, DiedOf, Fingerprint, Ids, NewerThan, OlderThan, Queue, choice
from workers.cli.output import Json, document, progress, show
from workers.cli.package import connected_to

if TYPE_CHECKING:
    from workers.replay import Tally

dead_letters = typer.Typer(no_args_is_help=True, help="Jobs that have failed for good.")

_COLUMNS: Final = "{failed_at!s:25}  {reason:17}  {replays:7}  {fingerprint:16}  {id:36}  {actor}: {why}\n"

Jobs = Annotated[str, typer.Option("--package", help="The package of jobs.")]
All = Annotated[bool, typer.Option("--all", help="All of them, without a filter.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count; nothing is changed.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


@dead_letters.command("list")
def list_letters(
    package: Jobs = "actors",
    *,
    ids: Ids = None,
    queue: Queue = None,
    actor: Actor = None,
    died_of: DiedOf = None,
    fingerprint: Fingerprint = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    group: Annotated[bool, typer.Option("--group", help="One line for letters that failed alike.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    as_json: Json = False,
) -> None:
    """Every dead letter, oldest first, or how many of each kind. Nothing is changed."""
    from workers import dead_letters as library  # noqa: PLC0415  only what a command uses is loaded

    chosen = choice(ids, queue, actor, died_of, fingerprint, [older_than, newer_than])
    with connected_to(package) as broker:
        if group:
            rows = [vars(each) for each in library.groups(broker, chosen)][:limit]
            show(rows, as_json=as_json, nothing="no dead letters")
            return
        with closing(library.letters(broker, chosen)) as found:
            count = _stream(found, limit, as_json=as_json)
    if not count and not as_json:
        sys.stdout.write("no dead letters\n")


def _stream(found: Iterator[Any], limit: int | None, *, as_json: bool) -> int:
    """Write letters as they come, one in memory at a time."""
    count = 0
    sys.stdout.write("[" if as_json else "")
    for letter in found:
        line = letter.line()
        if as_json:
            sys.stdout.write(("," if count else "") + "\n  " + json.dumps(line))
        else:
            sys.stdout.write(_COLUMNS.format(**line))
        count += 1
        if count == limit:
            break
    sys.stdout.write("\n]\n" if as_json else "")
    return count


@dead_letters.command("show")
def show_letter(
    message_id: Annotated[str, typer.Argument(metavar="ID")], package: Jobs = "actors", *, as_json: Json = False
) -> None:
    """One job's dead letters: why, when, and what to do; or what became of its replay. Exit status 1: nothing."""
    from workers import dead_letters as library  # noqa: PLC0415
    from workers.choice import Choice  # noqa: PLC0415
    from workers.cli import letter_page  # noqa: PLC0415
    from workers.store.outcomes import records  # noqa: PLC0415

    with _ready(package) as broker:
        found = list(library.letters(broker, Choice(ids=frozenset({message_id}))))
        pages = [letter_page.facts(each, broker.actors.get(each.actor)) for each in found]
        known = records(broker.store, message_id)
    if as_json:
        document({"letters": pages, "jobs": known})
    else:
        for page in pages:
            sys.stdout.writelines(f"{line}\n" for line in letter_page.lines(page))
        for each in known:
            sys.stdout.write(f"{each['actor']} {each['key']}: replayed {each['replays']} times, {each['outcome']}\n")
    if not pages and not known:
        sys.stderr.write(f"no dead letter has the id {message_id}\n")
        raise typer.Exit(1)


@dead_letters.command("replay")
def replay_letters(
    package: Jobs = "actors",
    *,
    ids: Ids = None,
    queue: Queue = None,
    actor: Actor = None,
    died_of: DiedOf = None,
    fingerprint: Fingerprint = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    everything: All = False,
    reason: Annotated[str, typer.Option(help="Why; it is kept in the audit trail.")] = "",
    rate: Annotated[float | None, typer.Option(min=0.001, help="Letters a second.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what has failed again three times.")] = False,
    wait: Annotated[float, typer.Option(help="Then wait so many seconds for how they end.")] = 0,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Also jobs with key=None, which may run twice by it.")] = False,
    as_json: Json = False,
) -> None:
    """Send jobs again: same id and key, first attempt. Killed at any moment, nothing is lost: run it again."""
    from workers import dead_letters as library  # noqa: PLC0415

    chosen = choice(ids, queue, actor, died_of, fingerprint, [older_than, newer_than], everything=everything)
    with _ready(package) as broker:
        if dry_run:
            _tell_dry_run(library.groups(broker, chosen), as_json=as_json)
            return
        report = _Progress("sent again")
        tally = library.replay(
            broker, chosen, reason=reason, rate=rate, again=again, keyless=yes, keep_jobs=wait > 0, progress=report.tick
        )
        outcomes = _wait_for_outcomes(broker.store, tally, wait) if wait else None
    if as_json:
        document(_facts(tally) | {"outcomes": outcomes})
        return
    _tell(tally, "sent again")
    if tally.repeatable:
        sys.stdout.write(f"{tally.repeatable} of them have no key, and leave no record of how they end\n")
    if outcomes is not None:
        sys.stdout.write("".join(f"{count} {what}\n" for what, count in outcomes.items()))


@dead_letters.command("discard")
def discard_letters(
    package: Jobs = "actors",
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept in the audit trail.")],
    ids: Ids = None,
    queue: Queue = None,
    actor: Actor = None,
    died_of: DiedOf = None,
    fingerprint: Fingerprint = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Throw dead letters away, for good. No late copy of their jobs runs."""
    from workers import dead_letters as library  # noqa: PLC0415

    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    chosen = choice(ids, queue, actor, died_of, fingerprint, [older_than, newer_than], everything=everything)
    with _ready(package) as broker:
        if dry_run:
            _tell_dry_run(library.groups(broker, chosen), as_json=as_json)
            return
        if not yes:
            typer.confirm(f"Throw away for good: {chosen}?", abort=True, err=True)
        tally = library.discard(broker, chosen, reason=reason, progress=_Progress("discarded").tick)
    if as_json:
        document(_facts(tally))
    else:
        _tell(tally, "discarded")


@contextmanager
def _ready(package: str) -> Iterator[Any]:
    """The broker, with a store whose audit trail can be written."""
    from workers.store.readiness import make_ready, packages_of  # noqa: PLC0415

    with connected_to(package) as broker:
        make_ready(broker.store, packages_of(broker.actors.values()))
        try:
            yield broker
        finally:
            broker.store.dispose()


def _wait_for_outcomes(store: Any, tally: "Tally", seconds: float) -> dict[str, int]:
    """Look each second how the replays have ended, until none is pending or the time is over."""
    from workers.store.outcomes import outcomes  # noqa: PLC0415

    deadline = time.monotonic() + seconds
    while True:
        found = outcomes(store, tally.jobs or [])
        left = deadline - time.monotonic()
        if not found["pending"] or left <= 0:
            return dict(+found)
        time.sleep(min(1.0, left))


def _tell_dry_run(groups: list[Any], *, as_json: bool) -> None:
    show([vars(each) for each in groups], as_json=as_json, nothing="no dead letters")
    if not as_json:
        sys.stdout.write(f"{sum(each.count for each in groups)} would be chosen\n")


def _facts(tally: "Tally") -> dict[str, Any]:
    return {"looked": tally.looked, "done": tally.done, "skipped": tally.skipped, "without_key": tally.repeatable}


def _tell(tally: "Tally", what: str) -> None:
    sys.stdout.write(f"{tally.done} of {tally.looked} {what}\n")
    for why, count in tally.skipped.items():
        sys.stdout.write(f"{count} left there: {why}\n")


class _Progress:
    """One line that changes on a terminal, a line every few seconds elsewhere; both on standard error."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._console = progress()
        self._last = time.monotonic()

    def tick(self, tally: "Tally") -> None:
        """How it stands, when that was last said a while ago."""
        if time.monotonic() - self._last < (0.2 if self._console.is_terminal else 5):
            return
        self._last = time.monotonic()
        line = f"looked at {tally.looked}, {self._what} {tally.done}"
        self._console.print(line, end="\r" if self._console.is_terminal else "\n", highlight=False)
