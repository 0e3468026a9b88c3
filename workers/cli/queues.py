"""`dutiful queues` looks after the places where jobs wait."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from workers.cli import pausing
from workers.cli.migration import migrate_queues
from workers.cli.output import Json, document, show
from workers.cli.package import Package, about, broker_of, connected_to
from workers.cli.pausing import Reason, Until

if TYPE_CHECKING:
    from workers.verification import Finding

queues = typer.Typer(no_args_is_help=True, help="Where jobs wait.")


def _management(broker: Any) -> Any:
    from workers.queues import management_of  # noqa: PLC0415  only what a command uses is loaded
    from workers.settings import settings  # noqa: PLC0415

    url = settings().rabbitmq.management_url
    return management_of(broker, url.get_secret_value() if url else None)


@queues.command("list")
def list_queues(package: Package = "actors", as_json: Json = False) -> None:
    """Every queue of the actors: jobs ready, unacked and dead, consumers, and the age of the oldest ready job."""
    from workers.queues import holdings  # noqa: PLC0415

    with connected_to(package) as broker:
        found = holdings(broker, broker.get_declared_queues(), _management(broker))
    pauses, trouble = pausing.paused("queue")
    found.notes.extend([trouble] if trouble else [])
    if as_json:
        document(asdict(found) | {"paused": {name: asdict(each) for name, each in pauses.items()}})
        return
    rows = [
        {
            "queue": each.queue,
            "ready": "missing" if each.ready is None else each.ready,
            "unacked": "unknown" if each.unacked is None else each.unacked,
            "dead": "missing" if each.dead is None else each.dead,
            "consumers": "" if each.consumers is None else each.consumers,
            "oldest": _age(each.ready, each.oldest_seconds),
            "paused": pausing.told(pauses.get(each.queue)),
        }
        for each in found.queues
    ]
    show(rows, as_json=False, nothing="no queues")
    sys.stdout.write(f"delayed: {'missing' if found.delayed is None else found.delayed}\n")
    if found.undeliverable:
        sys.stdout.write(f"undeliverable: {found.undeliverable}\n")
    for note in found.notes:
        sys.stdout.write(f"  {note}\n")


def _age(ready: int | None, seconds: float | None) -> str:
    if not ready:
        return ""
    return "unknown" if seconds is None else f"{seconds:.0f} s"


@queues.command("pause")
def pause_queue(name: str, package: Package = "actors", *, reason: Reason, until: Until = None) -> None:
    """Let no worker consume a queue, within two seconds. Its messages stay where they are, and are not charged."""
    pausing.pause("queue", name, broker_of(package).get_declared_queues(), reason=reason, until=until)


@queues.command("resume")
def resume_queue(name: str) -> None:
    """Let a queue be consumed again. Exit status 1: it was not paused."""
    pausing.resume("queue", name)


@queues.command("declare")
def declare_queues(package: Package = "actors") -> None:
    """Make every exchange and queue that the actors need. Doing it again changes nothing."""
    with connected_to(package) as broker:
        for name in sorted(broker.get_declared_queues()):
            broker.declare_queue(name, ensure=True)
            sys.stdout.write(f"{name}: declared\n")


@queues.command("verify")
def verify_queues(package: Package = "actors", as_json: Json = False) -> None:
    """Compare every exchange, queue and binding with what the actors need. Changes nothing. Exit status 1: wrong."""
    from workers.verification import verify  # noqa: PLC0415

    with connected_to(package) as broker:
        names = sorted(broker.get_declared_queues())
        findings = verify(broker, names, _management(broker))
    if as_json:
        document([asdict(each) for each in findings])
    else:
        _tell(findings, names, package)
    if any(each.severity == "wrong" for each in findings):
        raise typer.Exit(1)


def _tell(findings: "Sequence[Finding]", names: Sequence[str], package: str) -> None:
    missing = [each.what for each in findings if each.received == "nothing"]
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""  # noqa: PLR2004  what a person reads
        mend = about(package, "dutiful queues declare")
        sys.stdout.write(f"wrong: missing: {', '.join(missing[:8])}{more}\n  mend: {mend}\n")
    for each in findings:
        if each.received != "nothing":
            sys.stdout.write(f"{each.severity}: {each.what}: expected {each.expected}; received {each.received}\n")
            sys.stdout.write(f"  mend: {about(package, each.mend)}\n")
    if not any(each.severity == "wrong" for each in findings):
        sys.stdout.write(f"{', '.join(names)}: nothing wrong was found\n")


queues.command("migrate")(migrate_queues)
