"""What does a child process cost a job?

python -m bench.isolated [--jobs 2000]
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.contest import Contender, Ground, broker, ground

JOBS = ("in_thread", "in_child")
PATIENCE_SECONDS = 300
FILL = """
import sys
from bench.sites.apart import in_child, in_thread
messages = [each.message() for _ in range(int(sys.argv[1])) for each in (in_thread, in_child)]
in_child.broker.enqueue_many(messages)
in_child.broker.close()
"""


def main() -> None:
    """Run both, one after the other on one thread, and compare how long an attempt takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    chosen = parser.parse_args()
    with broker() as stack, ground(stack, Contender("dutiful", "apart")) as place:
        fill = [sys.executable, "-c", FILL, str(chosen.jobs)]
        subprocess.run(fill, env=place.environment, cwd=place.folder, check=True)  # noqa: S603  our own code
        took = measure(place, chosen.jobs)
    for name in JOBS:
        # The first few wait for the child to be there.
        cuts = statistics.quantiles(took[name][20:], n=100)
        sys.stdout.write(f"{name:12} p50 {cuts[49]:7.2f} ms   p99 {cuts[98]:7.2f} ms\n")


def measure(place: Ground, jobs: int) -> dict[str, list[float]]:
    """How long each attempt took, in milliseconds, by the worker's own lines."""
    command = [str(Path(sys.executable).with_name("dramatiq")), "bench.sites.apart", "-p", "1", "-t", "1"]
    log = place.folder / "log"
    with log.open("wb") as output:
        worker = subprocess.Popen(command, env=place.environment, cwd=place.folder, stdout=output, stderr=output)  # noqa: S603
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while log.read_text().count("job_succeeded") < jobs * len(JOBS):
                if time.monotonic() > deadline or worker.poll() is not None:
                    raise SystemExit(f"it did not finish:\n{log.read_text()[-2000:]}")
                time.sleep(0.5)
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(timeout=30)
    lines = [json.loads(line) for line in log.read_text().splitlines() if "job_succeeded" in line]
    return {name: [line["duration_ms"] for line in lines if line["actor"] == name] for name in JOBS}


if __name__ == "__main__":
    main()
