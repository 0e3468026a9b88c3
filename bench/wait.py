"""How long does a job wait at 300 jobs a second, and how much memory does its worker hold before?

python -m bench.wait [--seconds 20] [--rounds 3]
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from bench.contest import Contender, hold
from bench.contest import ground as prepared
from bench.delayed import MEGABYTE, worker_of
from deploy.local import Stack

RATE = 300
WARM_UP_SECONDS = 5
CONTENDERS = [
    Contender("stock Dramatiq", "stock"),
    Contender("dutiful, key=None", "ours"),
    Contender("dutiful, keys in SQLite", "ours", {"BENCH_KEY": "1"}),
    Contender("dutiful, keys in PostgreSQL", "ours", {"BENCH_KEY": "1"}, store="postgresql"),
]
SEND = """
import sys, time
from bench.sites.{site} import timed
begun = time.monotonic()
for number in range(int(sys.argv[1])):
    time.sleep(max(0, begun + number / {rate} - time.monotonic()))
    timed.send(time.time())
timed.broker.close()
"""


def main() -> None:
    """Run the contest: 99 of 100 jobs begin within so many microseconds of being sent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    hold(CONTENDERS, chosen.rounds, lambda stack, contender: wait(stack, contender, chosen.seconds * RATE), "us")


def wait(stack: Stack, contender: Contender, jobs: int) -> float:
    """Start a worker, send it jobs at an even rate, and return the 99th percentile of their waits, in microseconds."""
    with prepared(stack, contender) as place:
        environment = place.environment | {"BENCH_JOBS": str(jobs)}
        command = [
            str(Path(sys.executable).with_name("dramatiq")),
            f"bench.sites.{contender.site}",
            "-p",
            "1",
            "-t",
            "8",
        ]
        result = Path(environment["BENCH_RESULT"])
        with (place.folder / "log").open("wb") as log:
            worker = subprocess.Popen(command, env=environment, cwd=place.folder, stdout=log, stderr=log)  # noqa: S603
            try:
                time.sleep(WARM_UP_SECONDS)  # both have booted by then, and neither says so in the same way
                status = Path(f"/proc/{worker_of(worker.pid)}/status").read_text()
                send = [sys.executable, "-c", SEND.format(site=contender.site, rate=RATE), str(jobs)]
                subprocess.run(send, env=environment, cwd=place.folder, check=True)  # noqa: S603  our own code
                found = _result(result, worker)
            finally:
                worker.send_signal(signal.SIGTERM)
                worker.wait(timeout=30)
    resident = int(status.partition("VmRSS:")[2].split()[0]) * 1024 / MEGABYTE
    sys.stderr.write(f"{contender.name}: p50 {found['p50']:,.0f} us, idle worker process {resident:.0f} MB\n")
    return found["p99"]


def _result(result: Path, worker: "subprocess.Popen[bytes]") -> dict[str, float]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and worker.poll() is None:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            found: dict[str, float] = json.loads(result.read_text())
            return found
        time.sleep(0.1)
    raise SystemExit("not all jobs were run")


if __name__ == "__main__":
    main()
