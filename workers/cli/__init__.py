"""The operators' command: `dutiful`, noun then verb."""

import logging
import sys
from typing import NoReturn

import typer

from workers.cli.actors import actors
from workers.cli.contracts import contracts
from workers.cli.dead_letters import dead_letters
from workers.cli.doctor import doctor
from workers.cli.jobs import jobs
from workers.cli.outbox import outbox
from workers.cli.publish import publish
from workers.cli.queues import queues
from workers.cli.schedules import schedules
from workers.cli.status import status
from workers.cli.store import store
from workers.cli.tokens import tokens
from workers.cli.users import users
from workers.errors import DutifulError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Look after dutiful's jobs."
)
app.add_typer(actors, name="actors")
app.add_typer(contracts, name="contracts")
app.add_typer(dead_letters, name="dead-letters")
app.command("doctor")(doctor)
app.add_typer(jobs, name="jobs")
app.add_typer(outbox, name="outbox")
app.command("publish")(publish)
app.add_typer(queues, name="queues")
app.add_typer(schedules, name="schedules")
app.command("status")(status)
app.add_typer(store, name="store")
app.add_typer(tokens, name="tokens")
app.add_typer(users, name="users")


def main() -> NoReturn:
    """Run a command. Exit status: 0 fine, 1 found something wrong, 2 wrong usage."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # one failed connection is five lines there, one word here
    try:
        app(standalone_mode=True)
    except DutifulError as error:
        _refuse(error)
    except Exception as error:
        refusal = _unreachable(error)
        if refusal is None:
            raise
        _refuse(refusal)
    sys.exit(0)


def _unreachable(error: Exception) -> DutifulError | None:
    """What Dramatiq's error about a connection means; None: it is another error."""
    from dramatiq.errors import BrokerConnectionError  # noqa: PLC0415  only what a command uses is loaded

    from workers.transport.refusal import unreachable  # noqa: PLC0415

    if not isinstance(error, BrokerConnectionError):
        return None
    return unreachable(error.__cause__ or error, ending="")


def _refuse(error: DutifulError) -> NoReturn:
    line = " ".join(str(error).split())  # a database says why in several lines
    sys.stderr.write(f"dutiful: {line}\n")
    sys.exit(1)
