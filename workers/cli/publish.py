"""`dutiful publish` sends jobs by hand or from a file, checked as every sender's are."""

import json
import sys
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from workers.cli.moments import duration, moment
from workers.cli.output import Ticker, document
from workers.cli.package import Package, broker_of, rabbitmq_of
from workers.errors import ConfigurationError, ContractError, PublishError

_REMEMBERED: Final = 10_000  # more than are ever on their way at once


def publish(
    actor: Annotated[str, typer.Argument(help="As dutiful actors list names it.")],
    package: Package = "actors",
    *,
    arg: Annotated[list[str] | None, typer.Option("--arg", help="name=text, or name:=JSON; may be repeated.")] = None,
    one: Annotated[
        str | None, typer.Option("--json", help="All arguments: a JSON object, @file, or - for stdin.")
    ] = None,
    many: Annotated[str | None, typer.Option("--ndjson", help="A job for each line: a file, or - for stdin.")] = None,
    key: Annotated[str | None, typer.Option(help="What makes two messages the same job.")] = None,
    delay: Annotated[str | None, typer.Option(help="How long RabbitMQ keeps it back: 90s, 5m, 12h, 7d.")] = None,
    at: Annotated[str | None, typer.Option(help="When it is due, such as 2026-11-22T18:00+01:00.")] = None,
    run: Annotated[
        str | None,
        typer.Option(help="With --ndjson: the same name and lines are the same jobs, so it can be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, send nothing.")] = False,
    output: Annotated[Literal["text", "json"], typer.Option(help="json: one document for programs.")] = "text",
) -> None:
    """Send a job, or one for each line. Exit status 1: one was refused or not confirmed; it says how many were."""
    if sum(given is not None for given in (arg, one, many)) > 1:
        raise typer.BadParameter("say the arguments in one way: --arg, --json or --ndjson")
    if (many is None and run is not None) or (many is not None and key is not None):
        raise typer.BadParameter("--run is for --ndjson, --key for a single job")
    with nullcontext(broker_of(package)) if dry_run else rabbitmq_of(package) as broker:
        source = _lines(many) if many is not None else iter([(0, lambda: _arguments(arg or [], one))])
        batch = _Batch(_actor(broker, actor), source, key=key, run=run)
        facts = batch.send(broker, _delay_ms(delay, at), dry_run=dry_run)
    if output == "json":
        document(facts)
    else:
        done = "would be published" if dry_run else "published"
        which = f" {facts['message_id']}" if many is None and not batch.problem else ""
        sys.stdout.write(f"{actor}{which}: {facts['jobs']} {done} to {facts['queue']}\n")
    if batch.problem is not None:
        raise batch.problem


class _Batch:
    """The jobs of one command: it stops at the first that can't be, and knows which that was."""

    def __init__(
        self,
        actor: Any,
        source: Iterator[tuple[int, Callable[[], dict[str, Any]]]],
        *,
        key: str | None,
        run: str | None,
    ) -> None:
        self.actor = actor
        self.problem: ContractError | PublishError | None = None
        self._source, self._run = source, run
        self._options = {} if key is None else {"key": key}
        self._places: OrderedDict[str, int] = OrderedDict()
        self._confirmed = 0
        self._made = 0

    def send(self, broker: Any, delay: int | None, *, dry_run: bool) -> dict[str, Any]:
        """Send them all; what there is to say about it."""
        ticker = Ticker()
        try:
            if dry_run:
                self._confirmed = sum(1 for _ in self._messages(broker))
            else:
                self._confirmed = broker.enqueue_many(
                    self._messages(broker), delay=delay, progress=lambda count: self._tick(ticker, count)
                )
        except PublishError as error:
            place = self._places.get(getattr(error.message, "message_id", ""), 0)
            error.what += f" (line {place}; at least {self._confirmed} before it were confirmed)" if place else ""
            self.problem = error
        last = next(reversed(self._places), None)
        return {
            "actor": self.actor.actor_name,
            "queue": self.actor.queue_name,
            "jobs": self._confirmed,
            "dry_run": dry_run,
            "delay_ms": delay,
            "key": self._options.get("key"),
            "message_id": last if self._made == 1 else None,
            "problem": None if self.problem is None else str(self.problem),
        }

    def _tick(self, ticker: Ticker, count: int) -> None:
        self._confirmed = count
        ticker.tick(lambda: f"{count} confirmed")

    def _messages(self, broker: Any) -> Iterator[Any]:
        """The messages until one can't be; then none, so that those before it are still confirmed."""
        for place, read in self._source:
            try:
                arguments = read()
                message = self.actor.message_with_options(kwargs=arguments, **self._options)
                if self._run is not None:
                    message = message._replace(message_id=self._id(place, arguments))
                broker.refuse(message)
            except ContractError as error:
                error.what = f"line {place}: {error.what}" if place else error.what
                self.problem = error
                return
            self._made += 1
            self._places[message.message_id] = place
            if len(self._places) > _REMEMBERED:
                self._places.popitem(last=False)
            yield message

    def _id(self, place: int, arguments: dict[str, Any]) -> str:
        said = json.dumps([self.actor.actor_name, self._run, place, arguments], sort_keys=True)
        return str(uuid.uuid5(uuid.NAMESPACE_URL, said))


def _actor(broker: Any, name: str) -> Any:
    if name not in broker.actors:
        raise ConfigurationError(
            f"there is no actor {name}", expected=f"one of {', '.join(sorted(broker.actors))}", received=name
        )
    return broker.actors[name]


def _delay_ms(delay: str | None, at: str | None) -> int | None:
    from workers.clock import utcnow  # noqa: PLC0415  only what a command uses is loaded

    if delay is not None and at is not None:
        raise typer.BadParameter("say --delay or --at, not both")
    if at is not None:
        return max(0, (moment(at) - utcnow()) // timedelta(milliseconds=1))
    return None if delay is None else duration(delay) // timedelta(milliseconds=1)


def _arguments(words: list[str], text: str | None) -> dict[str, Any]:
    if text is not None:
        return _object(_text(text))
    arguments: dict[str, Any] = {}
    for word in words:
        name, found, value = word.partition("=")
        if not found or not name:
            raise typer.BadParameter(f"--arg {word}: say name=text, or name:=JSON")
        arguments[name.removesuffix(":")] = _json(value) if name.endswith(":") else value
    return arguments


def _lines(source: str) -> Iterator[tuple[int, Callable[[], dict[str, Any]]]]:
    """Each line that isn't empty, with its number, and how to read it."""
    with sys.stdin if source == "-" else _path(source).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, partial(_object, line)


def _text(source: str) -> str:
    if source == "-":
        return sys.stdin.read()
    return _path(source[1:]).read_text(encoding="utf-8") if source.startswith("@") else source


def _path(name: str) -> Path:
    if not Path(name).is_file():
        raise typer.BadParameter(f"there is no file {name}")
    return Path(name)


def _object(text: str) -> dict[str, Any]:
    found = _json(text)
    if not isinstance(found, dict):
        raise ContractError("these are no arguments", expected="a JSON object", received=type(found).__name__)
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContractError("the arguments can't be read", expected="JSON", received=str(error)) from None
