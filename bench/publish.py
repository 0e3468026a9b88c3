"""How many confirmed messages a second does one process publish: one at a time, and in bulk?

python -m bench.publish [--messages 20000] [--rounds 3]
"""

import argparse
import subprocess
import sys

from bench.contest import Contender, ground, hold
from deploy.local import Stack

CONTENDERS = [
    Contender("stock Dramatiq, confirms", "stock"),
    Contender("dutiful, one at a time", "ours"),
    Contender("dutiful, enqueue_many", "ours", {"BENCH_BULK": "1"}),
]
SEND = """
import os, sys, time
from bench.sites.{site} import empty
count = int(sys.argv[1])
empty.send()
began = time.perf_counter()
if os.environ.get("BENCH_BULK"):
    empty.broker.enqueue_many(empty.message() for _ in range(count))
else:
    for _ in range(count):
        empty.send()
print(count / (time.perf_counter() - began))
empty.broker.close()
"""


def main() -> None:
    """Run the contest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    hold(CONTENDERS, chosen.rounds, lambda stack, contender: publish(stack, contender, chosen.messages), "messages/s")


def publish(stack: Stack, contender: Contender, messages: int) -> float:
    """Publish, in a process of its own, and return the messages a second."""
    # One at a time takes long, and says the same after a tenth.
    count = messages if "BENCH_BULK" in contender.environment else messages // 10
    with ground(stack, contender) as place:
        command = [sys.executable, "-c", SEND.format(site=contender.site), str(count)]
        found = subprocess.run(  # noqa: S603  our own code
            command, env=place.environment | {"BENCH_JOBS": "0"}, cwd=place.folder, check=True, capture_output=True
        )
    return float(found.stdout)


if __name__ == "__main__":
    main()
