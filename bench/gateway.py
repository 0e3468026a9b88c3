"""How many requests a second does the gateway accept, and how long does one take?

python -m bench.gateway [--requests 6000] [--rounds 12] [--clients 16]

Each contender has a server of its own, one process of uvicorn, and all of them live at once: each answers a few hundred
requests in its turn, round after round. A request is answered when RabbitMQ has confirmed its message.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx

from bench.contest import Contender, broker, ground, report
from deploy.local import Stack, ports
from workers.store import tokens
from workers.store.engine import begin, create_store_engine
from workers.store.migrate import migrate

KEYED = {"BENCH_NAMED": "1"}
CONTENDERS = [
    Contender("bare FastAPI, stock Dramatiq", "web:app"),
    Contender("gateway", "gateway"),
    Contender("gateway, Idempotency-Key, SQLite", "gateway", KEYED),
    Contender("gateway, Idempotency-Key, PostgreSQL", "gateway", KEYED, store="postgresql"),
]
WARM_UP = 200
UNIT = 1_000


class Server(NamedTuple):
    """Where one contender answers, and what a client says to it."""

    port: int
    token: str
    is_named: bool
    pid: int

    def spent(self) -> float:
        """Seconds of processor time, until now."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run the contest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--clients", type=int, default=16)
    chosen = parser.parse_args()
    rates: dict[str, list[float]] = {each.name: [] for each in CONTENDERS}
    waits: dict[str, list[float]] = {each.name: [] for each in CONTENDERS}
    spent = {each.name: 0.0 for each in CONTENDERS}
    with broker("postgres") as stack, ExitStack() as places:
        servers = {each.name: places.enter_context(serving(stack, each)) for each in CONTENDERS}
        for number in range(chosen.rounds + 1):
            for name, server in servers.items():
                count = chosen.requests // chosen.rounds if number else WARM_UP
                began, used = time.perf_counter(), server.spent()
                took = asyncio.run(load(server, count, chosen.clients))
                if number:
                    rates[name].append(len(took) / (time.perf_counter() - began))
                    waits[name] += took
                    spent[name] += server.spent() - used
    report(rates, "requests/s")
    for name, found in waits.items():
        found.sort()
        p50, p99 = (found[int(len(found) * part)] * UNIT for part in (0.5, 0.99))
        cost = spent[name] / len(found) * UNIT
        sys.stdout.write(f"{name:<36} p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   {cost:.2f} ms of processor time each\n")


@contextmanager
def serving(stack: Stack, contender: Contender) -> Iterator[Server]:
    """A server of this contender's own, ready to answer."""
    with ground(stack, contender) as place:
        (port,) = ports.choose(1)
        is_ours = contender.site == "gateway"
        app = ["workers.gateway:create_app", "--factory"] if is_ours else [f"bench.sites.{contender.site}"]
        token = _token(place.environment["DUTIFUL_STORE__URL"]) if is_ours else ""
        command = [str(Path(sys.executable).with_name("uvicorn")), *app, "--port", str(port), "--no-access-log"]
        environment = place.environment | {"DUTIFUL_GATEWAY__PACKAGE": "bench.sites.ours", "BENCH_JOBS": "0"}
        with (place.folder / "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, cwd=place.folder, stdout=log, stderr=log)  # noqa: S603
            try:
                _wait(port, process, place.folder / "log")
                yield Server(port, token, "BENCH_NAMED" in contender.environment, process.pid)
            finally:
                process.terminate()
                process.wait(timeout=30)


def _token(store: str) -> str:
    engine = create_store_engine(store)
    migrate(engine, None)
    with begin(engine) as connection:
        return tokens.add(connection, "bench", [tokens.EVERY])


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code in {200, 404}:
                return
        time.sleep(0.1)
    raise SystemExit(log.read_text())


async def load(server: Server, count: int, clients: int) -> list[float]:
    """Ask so many times over so many connections, and return how long each answer took."""
    took: list[float] = []
    await asyncio.gather(*(_client(server, count // clients, took) for _ in range(clients)))
    return took


async def _client(server: Server, count: int, took: list[float]) -> None:
    """Speak HTTP by hand: a client library would take as long as the server does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for _ in range(count):
        named = f"Idempotency-Key: {uuid.uuid4()}\r\n" if server.is_named else ""
        head = f"Authorization: Bearer {server.token}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        began = time.perf_counter()
        writer.write(f"POST /v1/jobs/empty HTTP/1.1\r\nHost: bench\r\n{head}{named}\r\n{{}}".encode())
        said = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(said.partition("content-length: ")[2].split()[0]))
        took.append(time.perf_counter() - began)
        if " 202 " not in said.partition("\r\n")[0]:
            raise SystemExit(said)
    writer.close()


if __name__ == "__main__":
    main()
