"""`dutiful doctor` says, before the workers start, what would not work, and the command that mends it."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from workers.cli.output import Json, document
from workers.cli.package import Package, about, broker_of
from workers.errors import ConfigurationError, DutifulError

if TYPE_CHECKING:
    from workers.doctor.line import Line

Schedules = Annotated[str, typer.Option(help="The package with the timetable.")]
Strict = Annotated[bool, typer.Option("--strict", help="What could not be answered counts as wrong.")]

_WORDS = {"ok": "OK", "wrong": "wrong", "unknown": "unknown"}
_WIDE = 17


def doctor(
    package: Package = "actors", *, schedules: Schedules = "scheduling", strict: Strict = False, as_json: Json = False
) -> None:
    """Look whether everything that jobs need is as it must be. Changes nothing. Exit status 1: something is wrong."""
    lines = []
    for line in _lines(package, schedules):
        lines.append(line)
        if not as_json:
            _tell(line)
    counted = Counter(line.verdict for line in lines)
    if as_json:
        document([asdict(line) for line in lines])
    else:
        sys.stdout.write(f"{counted['ok']} OK, {counted['wrong']} wrong, {counted['unknown']} unknown\n")
    if counted["wrong"] or (strict and counted["unknown"]):
        raise typer.Exit(1)


def _lines(package: str, schedules: str) -> Iterator["Line"]:
    from workers.doctor.line import refused, wrong  # noqa: PLC0415  only what a command uses is loaded
    from workers.settings import settings  # noqa: PLC0415

    try:
        chosen = settings()
    except ConfigurationError as error:
        yield refused("settings", error, mend="# unset or correct what it names: .env.example has every variable")
        return
    try:
        broker = broker_of(package)
    except DutifulError as error:
        yield refused("jobs", error, mend="# correct what it names")
        return
    except Exception as error:  # noqa: BLE001  it is code, and may raise anything
        yield wrong(
            "jobs",
            f"the package {package} can't be imported",
            expected="jobs that Python can import",
            received=f"{type(error).__name__}: {error}",
            mend="# correct what it names",
        )
        return
    from workers.doctor.examination import examine  # noqa: PLC0415

    try:
        for line in examine(broker, chosen, schedules):
            yield replace(line, mend=about(package, line.mend))
    finally:
        broker.close()
        broker.store.dispose()


def _tell(line: "Line") -> None:
    facts = [line.what]
    facts += [f"expected {line.expected}"] if line.expected else []
    facts += [f"received {line.received}"] if line.received else []
    sys.stdout.write(f"{_WORDS[line.verdict]:<8} {line.check:<{_WIDE}} {'; '.join(facts)}\n")
    if line.mend:
        sys.stdout.write(f"  mend: {line.mend}\n")
