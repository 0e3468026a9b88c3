"""A contest runs its contenders in turn, round after round, and compares them with the first."""

import os
import statistics
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg

from deploy.local import Stack
from workers.store.engine import create_store_engine
from workers.store.migrate import migrate

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Contender:
    """Who takes part.

    Attributes:
      name: as the table shows it.
      site: a module of bench.sites.
      environment: what its processes are told.
      store: where its records are kept: sqlite or postgresql.
    """

    name: str
    site: str
    environment: Mapping[str, str] = field(default_factory=dict)
    store: str = "sqlite"


@dataclass(frozen=True)
class Ground:
    """Where one run takes place: a vhost of its own, a folder of its own, and an environment that says so."""

    url: str
    folder: Path
    environment: dict[str, str]


@contextmanager
def broker(*more: str) -> Iterator[Stack]:
    """A RabbitMQ of our own, and more services where they are named."""
    with tempfile.TemporaryDirectory(prefix="dutiful-bench-") as folder:
        stack = Stack.start(Path(folder), services=["rabbitmq", *more])
        try:
            yield stack
        finally:
            stack.stop(remove=True)


@contextmanager
def ground(stack: Stack, contender: Contender) -> Iterator[Ground]:
    """Prepare one run, and clear up behind it."""
    base = stack.administrator
    address = urlsplit(base)
    vhost = f"bench-{uuid.uuid4().hex[:8]}"
    url = f"{base.rpartition('/')[0]}/{vhost}"
    who = (address.username or "", address.password or "")
    with (
        httpx.Client(base_url=stack.url("rabbitmq", 15672), auth=who, timeout=30) as management,
        tempfile.TemporaryDirectory(prefix="dutiful-bench-") as folder,
    ):
        management.put(f"/api/vhosts/{vhost}").raise_for_status()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DUTIFUL_", "BENCH_"))}
        ours = {
            "PYTHONPATH": str(ROOT),
            "BENCH_URL": url,
            "BENCH_RESULT": f"{folder}/result",
            "DUTIFUL_RABBITMQ__URL": url,
            "DUTIFUL_METRICS__PORT": "0",
        }
        with store(stack, contender, folder) as kept_at:
            yield Ground(url, Path(folder), kept | ours | {"DUTIFUL_STORE__URL": kept_at} | contender.environment)
        management.delete(f"/api/vhosts/{vhost}").raise_for_status()


@contextmanager
def store(stack: Stack, contender: Contender, folder: str) -> Iterator[str]:
    """The address of an empty store."""
    if contender.store == "sqlite":
        yield f"sqlite:///{folder}/store.db"
        return
    url = stack.environment["DUTIFUL_STORE__URL"]
    database = f"bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}")
        kept_at = f"{url.rpartition('/')[0]}/{database}"
        migrate(create_store_engine(kept_at), None)
        yield kept_at
        connection.execute(f"DROP DATABASE {database} WITH (FORCE)")


def hold(contenders: list[Contender], rounds: int, measure: Callable[[Stack, Contender], float], unit: str) -> None:
    """Let each take its turn, `rounds` times, and print medians and ratios to the first."""
    results: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    with broker(*{"postgres" for each in contenders if each.store == "postgresql"}) as stack:
        for number in range(rounds):
            for contender in contenders:
                found = measure(stack, contender)
                results[contender.name].append(found)
                sys.stderr.write(f"round {number + 1}: {contender.name}: {found:,.0f} {unit}\n")
    report(results, unit)


def report(results: Mapping[str, list[float]], unit: str) -> None:
    """Print medians, and ratios to the first."""
    first = next(iter(results.values()))
    for name, found in results.items():
        ratios = [mine / theirs for mine, theirs in zip(found, first, strict=True)]
        sys.stdout.write(
            f"{name:<34} {statistics.median(found):>9,.0f} {unit}   {statistics.median(ratios):.2f} x"
            f"   ({min(found):,.0f} to {max(found):,.0f})\n"
        )
