"""`dutiful queues migrate` moves jobs from stock Dramatiq's queues into ours, and tells how it goes."""

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from workers.cli.output import Json, document, progress, show
from workers.cli.package import Package, connected_to
from workers.errors import ConfigurationError, DutifulError


def migrate_queues(
    package: Package = "actors",
    *,
    source: Annotated[
        str, typer.Option("--from", help="AMQP address of stock Dramatiq's vhost; - reads it from standard input.")
    ],
    queue: Annotated[list[str] | None, typer.Option(help="Only this queue; may be repeated.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until stopped (Ctrl-C, SIGTERM).")] = False,
    include_dead: Annotated[bool, typer.Option("--include-dead", help="Dead letters too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; nothing is taken or made.")] = False,
    as_json: Json = False,
) -> None:
    """Move jobs from stock Dramatiq's queues, delayed ones with what is left of their delay.

    Killed at any moment, it loses nothing: run it again. Exit status 1: something was left there, and is listed.
    """
    from workers.migration import Migration  # noqa: PLC0415
    from workers.origin import Origin, parts_of  # noqa: PLC0415

    with connected_to(package) as broker:
        names = _chosen(broker, package, queue)
        # A process list shows arguments, and the address has a password in it.
        address = sys.stdin.readline().strip() if source == "-" else source
        origin = Origin(address, parts_of(names, include_dead=include_dead), broker.ca_path)
        origin.look(broker)
        _say_what_to_know(broker, origin, names, follow=follow)
        failure: DutifulError | None = None
        stopped = False
        if not dry_run:
            report = _Progress(origin)
            migration = Migration(broker, origin, follow=follow, progress=report.tick, trouble=report.say)
            stopped, failure = _run(migration)
    _tell_counts(origin, as_json=as_json)
    if failure is not None:
        raise failure
    unfinished = stopped and not follow
    if unfinished:
        sys.stderr.write("stopped before the end; run it again to go on\n")
    if unfinished or any(part.left for part in origin.parts) or not any(part.exists for part in origin.parts):
        raise typer.Exit(1)


def _chosen(broker: Any, package: str, asked: list[str] | None) -> list[str]:
    known = sorted(broker.get_declared_queues())
    unknown = sorted(set(asked or ()) - set(known))
    if unknown:
        raise ConfigurationError(
            f"no actor of {package} reads {', '.join(unknown)}: what is moved there would wait for ever",
            expected=f"some of {', '.join(known)}, without .DQ or .XQ",
            received=", ".join(unknown),
        )
    return asked or known


def _say_what_to_know(broker: Any, origin: Any, names: Sequence[str], *, follow: bool) -> None:
    for part in origin.parts:
        if part.readers and not follow:
            sys.stderr.write(
                f"{part.source} has {part.readers} other consumers; what they hold can't be seen or moved. "
                "Stop those workers first, or run this again when they have stopped.\n"
            )
    keyless = [
        name for name, each in broker.actors.items() if getattr(each, "key", "") is None and each.queue_name in names
    ]
    if keyless:
        sys.stderr.write(
            f"{', '.join(sorted(keyless))}: key=None. If this command is killed, jobs that it had in hand may "
            "run twice; those of every other actor can't.\n"
        )


def _run(migration: Any) -> tuple[bool, DutifulError | None]:
    """Run until it ends or a signal comes: whether a signal came, and what went wrong."""
    came: list[int] = []

    def stop(number: int, _: object) -> None:
        came.append(number)
        migration.stop()

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        migration.run()
    except DutifulError as error:
        return bool(came), error
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    return bool(came), None


class _Progress:
    """One line that changes on a terminal, a line every few seconds elsewhere; both on standard error."""

    def __init__(self, origin: Any) -> None:
        self._origin = origin
        self._console = progress()
        self._last = 0.0

    def tick(self) -> None:
        """How it stands, when that was last said a while ago."""
        if time.monotonic() - self._last < (0.2 if self._console.is_terminal else 5):
            return
        self._last = time.monotonic()
        moved, left = (sum(getattr(part, name) for part in self._origin.parts) for name in ("moved", "left"))
        waiting = sum(part.waiting for part in self._origin.parts)
        line = f"moved {moved} (waiting at the start: {waiting}), left there {left}"
        self._console.print(line, end="\r" if self._console.is_terminal else "\n", highlight=False)

    def say(self, text: str) -> None:
        """Something that a person should know."""
        self._console.print(text, highlight=False)


def _tell_counts(origin: Any, *, as_json: bool) -> None:
    if as_json:
        document([asdict(part) for part in origin.parts])
        return
    rows = [
        {
            "queue there": part.source,
            "waiting": part.waiting if part.exists else "not there",
            "moved": part.moved,
            "of them delayed": part.delayed,
            "left there": part.left,
        }
        for part in origin.parts
    ]
    show(rows, as_json=False, nothing="no queues")
    for part in origin.parts:
        for reason in part.reasons:
            sys.stdout.write(f"left in {part.source}: {reason}\n")
