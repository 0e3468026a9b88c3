"""How long workers wait for the store while a million ended keys are purged.

    python -m bench.purge sqlite
    python -m bench.purge postgresql --keys 1000000 --threads 4

Threads claim and complete keys all the time, as workers do: twenty seconds alone, then during the whole purge. Each
pair is two transactions; the figures are milliseconds a pair.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, text

from deploy.local import Stack
from workers.store import keys
from workers.store.engine import begin, create_store_engine
from workers.store.holders import Holder
from workers.store.migrate import migrate
from workers.store.purge import purge

_ALONE_SECONDS = 20
_AT_ONCE = 100_000
_INSERT = """
    WITH RECURSIVE n(i) AS (SELECT CAST(:first AS INTEGER) UNION ALL SELECT i + 1 FROM n WHERE i < :last)
    INSERT INTO dutiful_keys (actor, key, state, arguments_hash, message_id, attempt, generation, fence,
                              created_at, updated_at)
    SELECT 'bench.old', 'old ' || i, 'done', 'abc', 'm ' || i, 1, 0, 1, :then, :then FROM n
"""


class Workers:
    """Threads that claim and complete, and note how long each pair took."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self.engine = engine
        self.seconds: list[float] = []
        self.holder = Holder.register(engine)
        self.holder.start()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """End them."""
        self._stopping.set()
        for each in self._threads:
            each.join()
        self.holder.release()

    def _run(self, thread: int) -> None:
        count = 0
        while not self._stopping.wait(0.005):
            count += 1
            job = {"actor": "bench.new", "key": f"{id(self)} {thread} {count}"}
            began = time.perf_counter()
            with begin(self.engine) as connection:
                asked = keys.Request(**job, message_id=job["key"], arguments_hash="abc", attempt=1, generation=0)
                claim = keys.claim(connection, asked, holder=self.holder.id)
            with begin(self.engine) as connection:
                keys.end(connection, keys.Ending(**job, holder=self.holder.id, fence=claim.fence, state="done"))
            self.seconds.append(time.perf_counter() - began)


def fill(engine: Engine, count: int) -> None:
    """Keys that ended a month ago."""
    for first in range(1, count + 1, _AT_ONCE):
        then = datetime.now(UTC) - timedelta(days=30) + timedelta(milliseconds=first)
        bound = then.replace(tzinfo=None).isoformat(" ") if engine.dialect.name == "sqlite" else then
        with engine.begin() as connection:
            connection.execute(text(_INSERT), {"first": first, "last": min(first + _AT_ONCE - 1, count), "then": bound})


def tell(what: str, seconds: list[float]) -> None:
    """One line of figures."""
    cuts = statistics.quantiles(seconds, n=1000)
    shown = {"p50": cuts[499], "p99": cuts[989], "p99.9": cuts[998], "most": max(seconds)}
    figures = ", ".join(f"{name} {1000 * each:.1f} ms" for name, each in shown.items())
    sys.stdout.write(f"{what}: {len(seconds)} pairs, {figures}\n")


def main() -> None:
    """Measure on a store of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("store", choices=["sqlite", "postgresql"])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dutiful-bench-") as folder:
        if asked.store == "sqlite":
            measure(f"sqlite:///{folder}/store.db", asked.keys, asked.threads)
            return
        stack = Stack.start(Path(folder) / "stack", services=["postgres"])
        try:
            measure(stack.environment["DUTIFUL_STORE__URL"], asked.keys, asked.threads)
        finally:
            stack.stop(remove=True)


def measure(url: str, count: int, threads: int) -> None:
    """Fill, work, purge beside the work, and tell."""
    engine = create_store_engine(url)
    migrate(engine, None)
    fill(engine, count)
    workers = Workers(engine, threads)
    time.sleep(_ALONE_SECONDS)
    workers.stop()
    tell("alone", workers.seconds)
    workers = Workers(engine, threads)
    began = time.perf_counter()
    removed = purge(engine, key_ttl=timedelta(days=7))
    took = time.perf_counter() - began
    workers.stop()
    tell("during the purge", workers.seconds)
    sys.stdout.write(f"{removed['keys']} keys purged in {took:.0f} s ({removed['keys'] / took:.0f} a second)\n")
    engine.dispose()


if __name__ == "__main__":
    main()
