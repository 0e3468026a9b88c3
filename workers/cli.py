"""The operators' command: `dutiful`, noun then verb."""

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from dramatiq.errors import BrokerConnectionError
from rich.console import Console
from rich.table import Table

from workers.errors import BrokerUnreachable, ConfigurationError, DutifulError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Look after dutiful's jobs."
)
actors = typer.Typer(no_args_is_help=True, help="What can be run as a job.")
queues = typer.Typer(no_args_is_help=True, help="Where jobs wait.")
store = typer.Typer(no_args_is_help=True, help="What is remembered about jobs.")
app.add_typer(actors, name="actors")
app.add_typer(queues, name="queues")
app.add_typer(store, name="store")

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
Package = Annotated[str, typer.Argument(help="The package of jobs.")]


def main() -> NoReturn:
    """Run a command. Exit status: 0 fine, 1 found something wrong, 2 wrong usage."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # one failed connection is five lines there, one word here
    try:
        app(standalone_mode=True)
    except BrokerConnectionError as error:
        _refuse(
            BrokerUnreachable(
                "RabbitMQ can't be reached", expected="a broker at DUTIFUL_RABBITMQ__URL", received=str(error)
            )
        )
    except DutifulError as error:
        _refuse(error)
    sys.exit(0)


def _refuse(error: DutifulError) -> NoReturn:
    line = " ".join(str(error).split())  # a database says why in several lines
    sys.stderr.write(f"dutiful: {line}\n")
    sys.exit(1)


def _broker(package: str) -> Any:
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{package} can't be imported", expected="a package of jobs on the Python path", received=str(error)
        ) from None
    from workers.broker import setup_broker  # noqa: PLC0415  after the package, which may be another one

    return setup_broker()


def _rabbitmq(package: str) -> Any:
    from workers.settings import settings  # noqa: PLC0415

    broker = _broker(package)
    if settings().rabbitmq.in_memory:
        raise ConfigurationError(
            "a broker in memory has no queues to look at",
            expected="DUTIFUL_RABBITMQ__URL with the address of a RabbitMQ",
            received="memory://",
        )
    return broker


def _show(rows: Sequence[Mapping[str, Any]], *, as_json: bool, nothing: str) -> None:
    if as_json:
        sys.stdout.write(json.dumps(list(rows), indent=2, default=str) + "\n")
    elif not rows:
        sys.stdout.write(f"{nothing}\n")
    else:
        table = Table(*rows[0], box=None, header_style="bold")
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row.values()))
        Console().print(table)


@actors.command("list")
def list_actors(package: Package = "actors", as_json: Json = False) -> None:
    """Every actor, with its queue, key and owner. One without a card is a plain Dramatiq actor."""
    broker = _broker(package)
    rows = [
        {
            "actor": actor.actor_name,
            "queue": actor.queue_name,
            "key": _key(actor),
            "owner": getattr(getattr(actor, "card", None), "owner", None) or "no card",
        }
        for actor in sorted(broker.actors.values(), key=lambda actor: str(actor.actor_name))
    ]
    _show(rows, as_json=as_json, nothing="no actors")


@actors.command("show")
def show_actor(name: str, package: Package = "actors", as_json: Json = False) -> None:
    """One actor: its job card, its arguments, and its limits."""
    broker = _broker(package)
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
        "key": _key(actor),
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


def _key(actor: Any) -> str:
    from workers.keys import KeyTemplate  # noqa: PLC0415

    key = getattr(actor, "key", "the message id")
    return key.template if isinstance(key, KeyTemplate) else key or "none: no record is kept"


@queues.command("list")
def list_queues(package: Package = "actors", as_json: Json = False) -> None:
    """Every queue of the actors: jobs ready to run, and dead letters. Delayed jobs are not in these numbers."""
    broker = _rabbitmq(package)
    rows = []
    for name in sorted(broker.get_declared_queues()):
        ready, _, dead = broker.get_queue_message_counts(name)
        rows.append({"queue": name, "ready": ready, "dead": dead})
    _show(rows, as_json=as_json, nothing="no queues")


@queues.command("declare")
def declare_queues(package: Package = "actors") -> None:
    """Make every exchange and queue that the actors need. Doing it again changes nothing."""
    broker = _rabbitmq(package)
    for name in sorted(broker.get_declared_queues()):
        broker.declare_queue(name, ensure=True)
        sys.stdout.write(f"{name}: declared\n")


@store.command("migrate")
def migrate_store(package: Package = "actors") -> None:
    """Bring the store's tables, and those of the package, up to date. Doing it again changes nothing."""
    from workers.store import migrate  # noqa: PLC0415  Alembic is slow to load

    _with_store(lambda engine: migrate.migrate(engine, package))
    store_status(package)


@store.command("status")
def store_status(package: Package = "actors", as_json: Json = False) -> None:
    """How far each set of migrations is. Exit status 1 when one is behind."""
    from workers.store import migrate  # noqa: PLC0415  Alembic is slow to load

    found = _with_store(lambda engine: migrate.status(engine, package))
    rows = [{"tables": each.name, "at": each.current, "newest": each.head} for each in found]
    _show(rows, as_json=as_json, nothing="no tables")
    if any(row["at"] != row["newest"] for row in rows):
        raise typer.Exit(1)


def _with_store(act: Callable[[Any], Any]) -> Any:
    from workers.settings import settings  # noqa: PLC0415
    from workers.store.engine import create_store_engine  # noqa: PLC0415

    engine = create_store_engine(settings().store.url.get_secret_value())
    try:
        return act(engine)
    finally:
        engine.dispose()
