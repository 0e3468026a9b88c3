"""What do signals cost? The rate of empty jobs with all of them on, beside the same without any.

python -m bench.signals [--jobs 20000] [--rounds 5]

On are metrics that somebody reads each second, health, logs, and Sentry with an address; then a line for each job that
succeeded; then traces, of which one in a hundred is kept.
"""

import argparse
import threading
from contextlib import suppress

import httpx

from bench.contest import Contender, hold
from bench.drain import QUIET, drain
from deploy.local import Stack, ports

(PORT,) = ports.choose(1)
ON = {"DUTIFUL_METRICS__PORT": str(PORT), "DUTIFUL_SENTRY__DSN": "http://key@127.0.0.1:9/1", "BENCH_SIGNALS": "all"}
CONTENDERS = [
    Contender("no signals", "watched", QUIET | {"BENCH_SIGNALS": "none"}),
    Contender("all signals, no success lines", "watched", QUIET | ON),
    Contender("all signals, success lines", "watched", ON),
    Contender("all of it, and traces", "watched", ON | {"BENCH_SIGNALS": "traces"}),
]


def main() -> None:
    """Run the contest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    hold(CONTENDERS, chosen.rounds, lambda stack, contender: measure(stack, contender, chosen.jobs), "jobs/s")


def measure(stack: Stack, contender: Contender, jobs: int) -> float:
    """Drain a queue while somebody reads the metrics each second."""
    done = threading.Event()
    reader = threading.Thread(target=read_metrics, args=(done,))
    reader.start()
    try:
        return drain(stack, contender, jobs)
    finally:
        done.set()
        reader.join()


def read_metrics(done: threading.Event) -> None:
    """Be Prometheus."""
    with httpx.Client(timeout=5) as client:
        while not done.wait(1):
            with suppress(httpx.TransportError):
                client.get(f"http://127.0.0.1:{PORT}/metrics")


if __name__ == "__main__":
    main()
