"""What do a million delayed jobs cost: in a worker's memory, in RabbitMQ's, and on its disk?

python -m bench.delayed [--jobs 1000000]
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from bench.contest import Contender, Ground, broker, ground
from deploy.local import Stack

DUTIFUL = Contender("dutiful", "ours")
MEGABYTE = 1_000_000
# RabbitMQ's figures of itself are some seconds old.
SETTLE_SECONDS = 20
READY = "Worker process is ready for action"
FILL = """
import resource, sys, time
from bench.sites.ours import empty
jobs, groups = int(sys.argv[1]), 100
began = time.perf_counter()
for group in range(groups):  # due in one hour to eleven
    messages = (empty.message() for _ in range(jobs // groups))
    empty.broker.enqueue_many(messages, delay=3_600_000 + group * 363_637)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
empty.broker.close()
"""


def main() -> None:
    """Measure before, publish, and measure after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    jobs = parser.parse_args().jobs
    with broker() as stack, ground(stack, DUTIFUL) as place, worker(place) as pid:
        time.sleep(SETTLE_SECONDS)
        before = figures(stack, place, pid)
        fill = [sys.executable, "-c", FILL, str(jobs)]
        done = subprocess.run(fill, env=place.environment, cwd=place.folder, check=True, capture_output=True)  # noqa: S603
        time.sleep(SETTLE_SECONDS)
        after = figures(stack, place, pid)
    seconds, publisher = map(float, done.stdout.split())
    sys.stdout.write(
        f"published {jobs} in {seconds:.0f} s, {jobs / seconds:,.0f}/s; publisher {publisher / MEGABYTE:.0f} MB\n"
    )
    for name, value in after.items():
        sys.stdout.write(f"{name:<22} {before[name]:>12,.1f} → {value:>12,.1f}\n")


@contextmanager
def worker(place: Ground) -> Iterator[int]:
    """An idle worker of one process and eight threads; the number of its worker process."""
    command = [str(Path(sys.executable).with_name("dramatiq")), "bench.sites.ours", "-p", "1", "-t", "8"]
    log = place.folder / "log"
    with log.open("wb") as output:
        parent = subprocess.Popen(command, env=place.environment, cwd=place.folder, stdout=output, stderr=output)  # noqa: S603
        try:
            while READY not in log.read_text():
                if parent.poll() is not None:
                    raise SystemExit(log.read_text()[-2000:])
                time.sleep(0.1)
            yield worker_of(parent.pid)
        finally:
            parent.send_signal(signal.SIGTERM)
            parent.wait(timeout=60)


def worker_of(parent: int) -> int:
    """The first child of Dramatiq's parent process that runs jobs."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(
        int(child) for child in children if "resource_tracker" not in Path(f"/proc/{child}/cmdline").read_text()
    )


def figures(stack: Stack, place: Ground, pid: int) -> dict[str, float]:
    """Memory in MB, disk in MB, and how many messages wait."""
    who = urlsplit(place.url)
    with httpx.Client(
        base_url=stack.url("rabbitmq", 15672), auth=(who.username or "", who.password or ""), timeout=60
    ) as client:
        node = client.get("/api/nodes").raise_for_status().json()[0]
        queues = client.get(f"/api/queues{who.path}").raise_for_status().json()
    kept = sum(path.stat().st_blocks * 512 for path in stack.run_folder.rglob("*") if path.is_file())
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    return {
        "worker, MB": resident / MEGABYTE,
        "RabbitMQ, MB": node["mem_used"] / MEGABYTE,
        "on its disk, MB": kept / MEGABYTE,
        "messages": float(sum(each.get("messages", 0) for each in queues)),
    }


if __name__ == "__main__":
    main()
