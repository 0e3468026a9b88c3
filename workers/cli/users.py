"""`dutiful users` looks after the users of RabbitMQ."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli.package import Package, rabbitmq_of
from workers.errors import ConfigurationError

if TYPE_CHECKING:
    from workers.management import Management
    from workers.settings import Settings

users = typer.Typer(no_args_is_help=True, help="Who may do what in RabbitMQ.")

Timeout = Annotated[
    bool | None,
    typer.Option(
        "--consumer-timeout/--no-consumer-timeout",
        help="Whether its policy says our consumer_timeout; unless said, where RabbitMQ takes it: from 3.12 on.",
    ),
]


@users.command("declare")
def declare_users(package: Package = "actors", *, consumer_timeout: Timeout = None) -> None:
    """Make the vhost, its users with the rights that the actors' queues ask for, their passwords, and its policy.

    Needs an administrator in DUTIFUL_RABBITMQ__MANAGEMENT_URL. Doing it again sets the same; nothing is deleted.
    """
    from workers.queues import vhost_of  # noqa: PLC0415  only what a command uses is loaded
    from workers.settings import settings  # noqa: PLC0415
    from workers.users import ROLES, definitions, password_hash, user  # noqa: PLC0415

    chosen = settings()
    given = {role: getattr(chosen.users, f"{role}_password") for role in ROLES}
    missing = [f"DUTIFUL_USERS__{role.upper()}_PASSWORD" for role in ROLES if not given[role]]
    if missing:
        raise ConfigurationError(
            "a user would have no password", expected="one for each of RabbitMQ's users", received=f"no {missing[0]}"
        )
    with rabbitmq_of(package) as broker:
        management = _administration(broker, chosen)
        states_timeout = _states_timeout(management.version(), consumer_timeout)
        facts = definitions(
            broker.get_declared_queues(),
            vhost=vhost_of(broker),
            hashes={role: password_hash(password.get_secret_value()) for role, password in given.items()},
            consumer_timeout_ms=chosen.rabbitmq.consumer_timeout_seconds * 1000 if states_timeout else None,
        )
    management.make(facts)
    for role in ROLES:
        sys.stdout.write(f"{user(facts['vhosts'][0]['name'], role)}: declared\n")


def _administration(broker: Any, chosen: "Settings") -> "Management":
    from workers.queues import management_of  # noqa: PLC0415

    url = chosen.rabbitmq.management_url
    management = management_of(broker, url.get_secret_value() if url else None)
    if management is None:
        raise ConfigurationError(
            "RabbitMQ's users are made through its management page",
            expected="DUTIFUL_RABBITMQ__MANAGEMENT_URL=http://ADMINISTRATOR:PASSWORD@HOST:15672",
            received="none",
        )
    return management


def _states_timeout(version: str, asked: bool | None) -> bool:
    from workers.users import takes_consumer_timeout  # noqa: PLC0415

    can = takes_consumer_timeout(version)
    if asked and not can:
        raise ConfigurationError(
            "this RabbitMQ takes no consumer_timeout from a policy; nothing was made",
            expected="3.12 or later, or no --consumer-timeout and `consumer_timeout` in its rabbitmq.conf",
            received=f"RabbitMQ {version}",
        )
    return can if asked is None else asked
