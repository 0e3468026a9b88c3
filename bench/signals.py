"""What do signals cost? The rate of empty jobs with all of them on, beside the same without any.

python -m bench.signals [--jobs 150000] [--rounds 3] [--read-seconds 10]

On are metrics that somebody reads, as often as the Prometheus that comes with the project, health, logs, and Sentry
with an address; then a line for each job that succeeded; then traces, of which one in a hundred is kept.
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
    parser.add_argument("--jobs", type=int, default=150_000)  # so that a drain lasts longer than a pause of the reader
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--read-seconds", type=float, default=10, help="the pause between two readings of the metrics")
    chosen = parser.parse_args()

    def run(stack: Stack, contender: Contender) -> float:
        return measure(stack, contender, chosen.jobs, chosen.read_seconds)

    hold(CONTENDERS, chosen.rounds, run, "jobs/s")


def measure(stack: Stack, contender: Contender, jobs: int, pause: float) -> float:
    """Drain a queue while somebody reads the metrics."""
    done = threading.Event()
    reader = threading.Thread(target=read_metrics, args=(done, pause))
    reader.start()
    try:
        return drain(stack, contender, jobs)
    finally:
        done.set()
        reader.join()


def read_metrics(done: threading.Event, pause: float) -> None:
    """Be Prometheus."""
    with httpx.Client(timeout=5) as client:
        while not done.wait(pause):
            with suppress(httpx.TransportError):
                client.get(f"http://127.0.0.1:{PORT}/metrics")


if __name__ == "__main__":
    main()
