"""How many confirmed messages a second does one process publish, and how long does one of them take?

python -m bench.publish [--messages 20000] [--rounds 3]
"""

import argparse
import json
import statistics
import subprocess
import sys

from bench.contest import Contender, ground, hold
from deploy.local import Stack

CONTENDERS = [
    Contender("stock Dramatiq, confirms", "stock", {"BENCH_HOW": "single"}),
    Contender("dutiful, one at a time", "ours", {"BENCH_HOW": "single"}),
    Contender("dutiful, enqueue_many", "ours", {"BENCH_HOW": "bulk"}),
    Contender("bare pika, pipelined confirms", "ours", {"BENCH_HOW": "bare"}),
]
SEND = """
import json, os, sys, time
from bench.sites.{site} import empty
count, took = int(sys.argv[1]), []
for _ in range(100):
    empty.send()
began = time.perf_counter()
match os.environ["BENCH_HOW"]:
    case "bulk":
        empty.broker.enqueue_many(empty.message() for _ in range(count))
    case "bare":
        from bench.sites.bare import publish
        publish(count)
    case "single":
        for _ in range(count):
            asked = time.perf_counter()
            empty.send()
            took.append(time.perf_counter() - asked)
print(json.dumps([count / (time.perf_counter() - began), sorted(took)]))
empty.broker.close()
"""
MICROSECONDS = 1_000_000


def main() -> None:
    """Run the contest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    waits: dict[str, list[list[float]]] = {}
    hold(
        CONTENDERS,
        chosen.rounds,
        lambda stack, contender: publish(stack, contender, chosen.messages, waits),
        "messages/s",
    )
    for name, runs in waits.items():
        p50, p99 = (statistics.median(run[int(len(run) * part)] for run in runs) * MICROSECONDS for part in (0.5, 0.99))
        sys.stdout.write(f"{name:<34} {p50:>9,.0f} µs p50   {p99:,.0f} µs p99\n")


def publish(stack: Stack, contender: Contender, messages: int, waits: dict[str, list[list[float]]]) -> float:
    """Publish, in a process of its own, note how long each single message took, and return the messages a second."""
    # One at a time takes long, and says the same after a tenth.
    single = contender.environment["BENCH_HOW"] == "single"
    count = messages // 10 if single else messages
    with ground(stack, contender) as place:
        command = [sys.executable, "-c", SEND.format(site=contender.site), str(count)]
        found = subprocess.run(  # noqa: S603  our own code
            command, env=place.environment | {"BENCH_JOBS": "0"}, cwd=place.folder, check=True, capture_output=True
        )
    rate, took = json.loads(found.stdout)
    if single:
        waits.setdefault(contender.name, []).append(took)
    return float(rate)


if __name__ == "__main__":
    main()
