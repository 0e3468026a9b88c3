"""Gives tests a real RabbitMQ and a real PostgreSQL, started from docker-compose.yml once a session.

    def test_x(rabbitmq): ...        # the AMQP URL of a vhost that only this test uses
    def test_y(postgres): ...        # the SQLAlchemy URL of a database that only this test uses
    def test_z(stack): ...           # starts whole stacks: stack(services=["worker"], overrides={...})

RABBITMQ_URL names a RabbitMQ that runs already, such as one of another version: `rabbitmq` is then a vhost of that one.
RABBITMQ_MANAGEMENT is its management API, unless that is on the same port plus 10,000.

Such tests carry the marker `broker` by themselves. Where the servers are not installed they are skipped, except in CI.
"""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from deploy.local import Stack
from deploy.setup import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

CHECKOUT = Path(__file__).parents[1]
NEEDS_SERVERS = {"broker_node", "database_server", "rabbitmq", "postgres", "make_database", "stack"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if NEEDS_SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.broker)
    items[:] = spread(items, getattr(config, "workerinput", {}).get("workercount", 1))


def spread(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """Order tests so that each process, which gets an equal part of them, begins with its share of the long ones."""
    long, others = [], []
    for item in items:
        (long if item.get_closest_marker("long") else others).append(item)
    ordered: list[pytest.Item] = []
    for place in range(processes):
        ordered += long[place::processes]
        end = len(items) * (place + 1) // processes
        more = max(0, end - len(ordered))
        ordered += others[:more]
        del others[:more]
    return ordered


@pytest.fixture(scope="session")
def installed_servers() -> None:
    """Skip on a laptop without the servers; in CI their absence is a failure."""
    absent = ", ".join(server.name for server in servers.missing())
    if not absent:
        return
    message = f"{absent} not installed: `make setup` brings it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def run_folder() -> Iterator[Path]:
    folder = CHECKOUT / ".run" / f"tests-{os.getpid()}"
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def broker_node(installed_servers: None, run_folder: Path) -> Iterator[Stack]:
    """A stack with RabbitMQ alone, for the whole session."""
    node = Stack.start(run_folder / "rabbitmq", services=["rabbitmq"])
    yield node
    node.stop(remove=True)


@pytest.fixture(scope="session")
def database_server(installed_servers: None, run_folder: Path) -> Iterator[Stack]:
    """A stack with PostgreSQL alone, for the whole session."""
    server = Stack.start(run_folder / "postgres", services=["postgres"])
    yield server
    server.stop(remove=True)


@pytest.fixture(scope="session")
def broker_addresses(request: pytest.FixtureRequest) -> tuple[str, str]:
    """RabbitMQ's AMQP URL without a vhost, and its management API."""
    given = os.environ.get("RABBITMQ_URL")
    if given:
        address = urlsplit(given)
        beside = f"http://{address.hostname}:{(address.port or 5672) + 10_000}"
        return f"{address.scheme}://{address.netloc}", os.environ.get("RABBITMQ_MANAGEMENT") or beside
    node = request.getfixturevalue("broker_node")
    return node.administrator.rpartition("/")[0], node.url("rabbitmq", 15672)


@pytest.fixture(scope="session")
def management(broker_addresses: tuple[str, str]) -> Iterator[httpx.Client]:
    """RabbitMQ's management API; paths begin with /api."""
    address = urlsplit(broker_addresses[0])
    who = (address.username or "guest", address.password or "guest")
    with httpx.Client(base_url=broker_addresses[1], auth=who, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def names() -> Iterator[str]:
    return (f"test_{number}" for number in itertools.count(1))


@pytest.fixture
def rabbitmq(broker_addresses: tuple[str, str], management: httpx.Client, names: Iterator[str]) -> Iterator[str]:
    """The AMQP URL of a fresh vhost."""
    vhost = next(names)
    management.put(f"/api/vhosts/{vhost}").raise_for_status()
    yield f"{broker_addresses[0]}/{vhost}"
    management.delete(f"/api/vhosts/{vhost}").raise_for_status()


@pytest.fixture(scope="session")
def make_database(database_server: Stack, names: Iterator[str]) -> Callable[..., AbstractContextManager[str]]:
    """Make a database of its own: with make_database(like="name of another") as url: its SQLAlchemy URL."""
    url = database_server.environment["DUTIFUL_STORE__URL"]

    @contextmanager
    def make(like: str = "template1") -> Iterator[str]:
        name = next(names)
        with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {like}")
            yield url.rpartition("/")[0] + f"/{name}"
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    return make


@pytest.fixture
def postgres(make_database: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh database."""
    with make_database() as url:
        yield url


@pytest.fixture
def stack(installed_servers: None, run_folder: Path, names: Iterator[str]) -> Iterator[Callable[..., Stack]]:
    """Start a stack of its own: stack(services=[...], overrides={...}); it is removed after the test."""
    started: list[Stack] = []

    def start(**options: object) -> Stack:
        folder = run_folder / next(names)
        started.append(Stack(folder))
        return Stack.start(folder, **options)

    yield start
    for each in started:
        each.stop(remove=True)
