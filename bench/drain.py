"""How many empty jobs a second does one worker process of eight threads finish?

python -m bench.drain [--jobs 20000] [--rounds 3]
"""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.contest import Contender, Ground, ground, hold
from deploy.local import Stack

QUIET = {"DUTIFUL_LOGS__SUCCESS_LINES": "false"}
CONTENDERS = [
    Contender("stock Dramatiq", "stock"),
    Contender("dutiful, key=None, no success lines", "ours", QUIET),
    Contender("dutiful, key=None, success lines", "ours"),
    Contender("dutiful, keys in SQLite", "ours", QUIET | {"BENCH_KEY": "1"}),
    Contender("dutiful, keys in PostgreSQL", "ours", QUIET | {"BENCH_KEY": "1"}, store="postgresql"),
]
PATIENCE_SECONDS = 120
FILL = """
import sys
from bench.sites.{site} import empty
messages = (empty.message() for _ in range(int(sys.argv[1])))
broker = empty.broker
if hasattr(broker, "enqueue_many"):
    broker.enqueue_many(messages)
else:
    broker.confirm_delivery = False
    for message in messages:
        broker.enqueue(message)
broker.close()
"""


def main() -> None:
    """Run the contest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    hold(CONTENDERS, chosen.rounds, lambda stack, contender: drain(stack, contender, chosen.jobs), "jobs/s")


def drain(stack: Stack, contender: Contender, jobs: int) -> float:
    """Fill a queue, start a worker, and return the jobs a second between its first and its last job."""
    with ground(stack, contender) as place:
        environment = place.environment | {"BENCH_JOBS": str(jobs)}
        fill = [sys.executable, "-c", FILL.format(site=contender.site), str(jobs)]
        subprocess.run(fill, env=environment, cwd=place.folder, check=True)  # noqa: S603  our own code
        return run_worker(place, environment, contender.site)


def run_worker(place: Ground, environment: dict[str, str], site: str) -> float:
    """Run Dramatiq's own command until the last job has run."""
    command = [str(Path(sys.executable).with_name("dramatiq")), f"bench.sites.{site}", "-p", "1", "-t", "8"]
    result = Path(environment["BENCH_RESULT"])
    with (place.folder / "log").open("wb") as log:
        worker = subprocess.Popen(command, env=environment, cwd=place.folder, stdout=log, stderr=log)  # noqa: S603
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not result.exists() or not result.read_text():
                if time.monotonic() > deadline or worker.poll() is not None:
                    raise SystemExit(f"{site} did not finish:\n{(place.folder / 'log').read_text()[-2000:]}")
                time.sleep(0.05)
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(timeout=30)
    return float(result.read_text())


if __name__ == "__main__":
    main()
