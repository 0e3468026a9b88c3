"""`dutiful outbox` publishes what services store beside their own rows."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli.output import Json, document, show
from workers.cli.package import Package, rabbitmq_of

if TYPE_CHECKING:
    from workers.relay import Relay

outbox = typer.Typer(no_args_is_help=True, help="What services store to be sent.")

Address = Annotated[
    str | None,
    typer.Option("--url", help="The service's database; - reads it from standard input. Default: the store."),
]


@outbox.command("init")
def init_outbox(url: Address = None) -> None:
    """Make the outbox's table in a service's database. Doing it again changes nothing. The store has it already."""
    from workers.store import publisher_outbox  # noqa: PLC0415  only what a command uses is loaded
    from workers.store.engine import begin  # noqa: PLC0415

    with _database(url) as engine:
        with begin(engine) as connection:
            publisher_outbox.create(connection)
        sys.stdout.write("dutiful_publisher_outbox: there\n")


@outbox.command("status")
def outbox_status(url: Address = None, as_json: Json = False) -> None:
    """How many rows wait, for how long, and how many were set aside. Exit status 1 when one was."""
    from workers.store import publisher_outbox  # noqa: PLC0415
    from workers.store.engine import begin, read_only  # noqa: PLC0415

    with _database(url) as engine, begin(read_only(engine)) as connection:
        publisher_outbox.require(connection)
        depth = publisher_outbox.depth(connection)
    facts = {"waiting": depth.rows, "oldest_seconds": round(depth.oldest_seconds, 1), "set_aside": depth.set_aside}
    if as_json:
        document(facts)
    else:
        show([facts], as_json=False, nothing="")
    if depth.set_aside:
        raise typer.Exit(1)


@outbox.command("relay")
def relay_outbox(
    package: Package = "actors",
    *,
    url: Address = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to publish.")] = False,
    batch: Annotated[int, typer.Option(min=1, max=2_000, help="How many are on their way at once.")] = 500,
) -> None:
    """Publish what waits in a service's database until stopped (Ctrl-C, SIGTERM). Workers relay the store's themselves.

    Any number may run beside each other. Exit status 1: with --once, something was not published.
    """
    from workers.middleware.outbox_relay import count  # noqa: PLC0415
    from workers.relay import Relay  # noqa: PLC0415
    from workers.store import publisher_outbox  # noqa: PLC0415
    from workers.store.engine import begin, read_only  # noqa: PLC0415

    with rabbitmq_of(package) as broker, _database(url) as engine:
        with begin(read_only(engine)) as connection:
            publisher_outbox.require(connection)
        relay = Relay(engine, broker, batch=batch, told=count)
        if not once:
            _run(relay)
            return
        done = relay.drain()
        sys.stdout.write(f"relayed {done.relayed}, set aside {done.set_aside}, not taken {done.not_taken}\n")
        if done.set_aside or done.not_taken:
            raise typer.Exit(1)


def _run(relay: "Relay") -> None:
    """Relay until a signal comes."""
    from prometheus_client import generate_latest  # noqa: PLC0415

    from workers.exposition import server  # noqa: PLC0415
    from workers.middleware.outbox_relay import measure  # noqa: PLC0415
    from workers.settings import settings  # noqa: PLC0415

    logging.getLogger("workers.relay").setLevel(logging.INFO)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    chosen = settings().metrics
    if chosen.port is not None:
        server(chosen.host, chosen.port, generate_latest, lambda: [relay.trouble] if relay.trouble else [])
        threading.Thread(target=measure, args=(relay, stopping), name="dutiful-outbox-depth", daemon=True).start()
    relay.run(stopping)


@contextmanager
def _database(url: str | None) -> Iterator[Any]:
    """The engine of the database that is meant."""
    from workers.settings import settings  # noqa: PLC0415
    from workers.store.engine import create_store_engine  # noqa: PLC0415

    # A process list shows arguments, and the address has a password in it.
    given = sys.stdin.readline().strip() if url == "-" else url
    chosen = settings().store
    # A service's database says in its own address whom to trust.
    where = (given, None) if given else (chosen.url.get_secret_value(), chosen.ca_path)
    engine = create_store_engine(where[0], pool_size=2, ca_path=where[1])
    try:
        yield engine
    finally:
        engine.dispose()
