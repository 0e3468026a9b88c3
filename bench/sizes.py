"""What does a million jobs cost that wait, are delayed, or are done: in RabbitMQ's memory, on its disk, in the store?

python -m bench.sizes [--jobs 1000000]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, insert, text

from bench.contest import broker, ground
from bench.delayed import DUTIFUL, FILL, MEGABYTE, SETTLE_SECONDS, figures
from deploy.local import Stack
from workers.store.engine import create_store_engine
from workers.store.migrate import migrate
from workers.store.tables import keys

AT_ONCE = 10_000
WAITING = FILL.replace(", delay=3_600_000 + group * 363_637", "")


def main() -> None:
    """Measure each on servers of its own, and print what a million would be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    jobs = parser.parse_args().jobs
    for name, program in (("waiting", WAITING), ("delayed", FILL)):
        tell(name, jobs, of_rabbitmq(program, jobs))
    tell("done, in SQLite", jobs, {"on disk, MB": of_sqlite(jobs)})
    tell("done, in PostgreSQL", jobs, {"on disk, MB": of_postgresql(jobs)})


def of_rabbitmq(program: str, jobs: int) -> dict[str, float]:
    """What RabbitMQ has more of, once it has settled."""
    with broker() as stack, ground(stack, DUTIFUL) as place:
        environment = place.environment
        time.sleep(SETTLE_SECONDS)
        before = figures(stack, place, os.getpid())
        fill_ = [sys.executable, "-c", program, str(jobs)]
        subprocess.run(fill_, env=environment, cwd=place.folder, check=True, capture_output=True)  # noqa: S603
        time.sleep(SETTLE_SECONDS)
        after = figures(stack, place, os.getpid())
    missing = jobs - (after["messages"] - before["messages"])
    if missing:
        raise SystemExit(f"{missing:,.0f} of {jobs:,} messages are not there, so nothing was measured")
    return {name: after[name] - before[name] for name in ("RabbitMQ, MB", "on its disk, MB")}


def of_sqlite(jobs: int) -> float:
    """The size of the file with so many keys, without those of the empty one."""
    with tempfile.TemporaryDirectory(prefix="dutiful-bench-") as folder:
        file = Path(folder) / "store.db"
        engine = create_store_engine(f"sqlite:///{file}")
        migrate(engine, None)
        fill(engine, jobs)
        engine.dispose()
        return file.stat().st_size / MEGABYTE


def of_postgresql(jobs: int) -> float:
    """The size of the table with its indexes."""
    with tempfile.TemporaryDirectory(prefix="dutiful-bench-") as folder:
        stack = Stack.start(Path(folder) / "stack", services=["postgres"])
        try:
            engine = create_store_engine(stack.environment["DUTIFUL_STORE__URL"])
            migrate(engine, None)
            fill(engine, jobs)
            with engine.connect() as connection:
                size = connection.scalar(text("SELECT pg_total_relation_size('dutiful_keys')"))
            engine.dispose()
        finally:
            stack.stop(remove=True)
    return float(size) / MEGABYTE


def fill(engine: Engine, jobs: int) -> None:
    """Keys that are done, as long as real ones: each job's key is its id, which begins with its time."""
    now = datetime.now(UTC)
    same = {"actor": "content.import_batch", "state": "done", "arguments_hash": "a" * 64, "attempt": 1, "generation": 0}
    for first in range(0, jobs, AT_ONCE):
        ids = (f"{number:012x}-{uuid.uuid4().hex[:23]}" for number in range(first, min(first + AT_ONCE, jobs)))
        rows = [
            {**same, "key": each, "message_id": each, "fence": 1, "created_at": now, "updated_at": now} for each in ids
        ]
        with engine.begin() as connection:
            connection.execute(insert(keys), rows)


def tell(what: str, jobs: int, found: dict[str, float]) -> None:
    """One line: what was measured, and what a million would be."""
    shown = ", ".join(f"{name} {value:,.0f} (a million: {value / jobs * 1e6:,.0f})" for name, value in found.items())
    sys.stdout.write(f"{jobs:,} {what}: {shown}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
