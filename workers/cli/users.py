"""`dutiful users` looks after the users of RabbitMQ."""

import sys
from typing import Annotated

import typer

from workers.cli.package import Package, rabbitmq_of
from workers.errors import ConfigurationError

users = typer.Typer(no_args_is_help=True, help="Who may do what in RabbitMQ.")

Timeout = Annotated[
    bool, typer.Option("--consumer-timeout", help="Also a policy with our consumer_timeout: RabbitMQ 3.12 and later.")
]


@users.command("declare")
def declare_users(package: Package = "actors", *, consumer_timeout: Timeout = False) -> None:
    """Make the vhost, its users with the rights that the actors' queues ask for, their passwords, and its policy.

    Needs an administrator in DUTIFUL_RABBITMQ__MANAGEMENT_URL. Doing it again sets the same; nothing is deleted.
    """
    from workers.queues import management_of, vhost_of  # noqa: PLC0415  only what a command uses is loaded
    from workers.settings import settings  # noqa: PLC0415
    from workers.users import ROLES, definitions, password_hash, user  # noqa: PLC0415

    chosen = settings()
    given = {role: getattr(chosen.users, f"{role}_password") for role in ROLES}
    missing = [f"DUTIFUL_USERS__{role.upper()}_PASSWORD" for role in ROLES if not given[role]]
    if missing:
        raise ConfigurationError(
            "a user would have no password", expected="one for each of RabbitMQ's users", received=f"no {missing[0]}"
        )
    url = chosen.rabbitmq.management_url
    with rabbitmq_of(package) as broker:
        management = management_of(broker, url.get_secret_value() if url else None)
        if management is None:
            raise ConfigurationError(
                "RabbitMQ's users are made through its management page",
                expected="DUTIFUL_RABBITMQ__MANAGEMENT_URL=http://ADMINISTRATOR:PASSWORD@HOST:15672",
                received="none",
            )
        facts = definitions(
            broker.get_declared_queues(),
            vhost=vhost_of(broker),
            hashes={role: password_hash(password.get_secret_value()) for role, password in given.items()},
            consumer_timeout_ms=chosen.rabbitmq.consumer_timeout_seconds * 1000 if consumer_timeout else None,
        )
    management.make(facts)
    for role in ROLES:
        sys.stdout.write(f"{user(facts['vhosts'][0]['name'], role)}: declared\n")
