"""The package of jobs that a command is about, and its broker."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, Final

import typer

from workers.errors import ConfigurationError

Package = Annotated[str, typer.Argument(help="The package of jobs.")]
_WITHOUT_A_PACKAGE: Final = re.compile(r"dutiful (queues declare|store adopt|store migrate|users declare)(?! \w)")


def about(package: str, commands: str) -> str:
    """The same commands about another package of jobs than the one that they take by themselves."""
    return commands if package == "actors" else _WITHOUT_A_PACKAGE.sub(rf"\g<0> {package}", commands)


def broker_of(package: str) -> Any:
    """The broker that the package's actors belong to; nothing is connected yet.

    Raises:
      ConfigurationError: there is no such package.
    """
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{package} can't be imported", expected="a package of jobs on the Python path", received=str(error)
        ) from None
    from workers.broker import setup_broker  # noqa: PLC0415  after the package, which may be another one

    return setup_broker()


@contextmanager
def rabbitmq_of(package: str) -> Iterator[Any]:
    """The same broker, which must be a RabbitMQ; its connections are closed afterwards.

    Raises:
      ConfigurationError: it is the one in memory.
    """
    from workers.settings import settings  # noqa: PLC0415

    broker = broker_of(package)
    if settings().rabbitmq.in_memory:
        raise ConfigurationError(
            "a broker in memory has no queues to look at",
            expected="DUTIFUL_RABBITMQ__URL with the address of a RabbitMQ",
            received="memory://",
        )
    try:
        yield broker
    finally:
        broker.close()


@contextmanager
def connected_to(package: str) -> Iterator[Any]:
    """The same, once it answers; one that refuses connections is told at once.

    Raises:
      BrokerUnreachable: it refuses, or has not answered in six seconds.
      ConfigurationError: it refuses this user or vhost, or is the one in memory.
    """
    from workers.reaching import reach  # noqa: PLC0415  only what a command uses is loaded

    with rabbitmq_of(package) as broker:
        reach(broker)
        yield broker
