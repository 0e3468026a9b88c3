"""How many confirmed messages a second does one process publish, and how long does one of them take?

python -m bench.publish [--messages 20000] [--rounds 30]

Each contender has a process of its own, and all of them live at once: each publishes a few messages in its turn, round
after round, so that what else the machine does meets all of them alike.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.contest import Contender, broker, ground, report
from deploy.local import Stack

CONTENDERS = [
    Contender("stock Dramatiq, confirms", "stock", {"BENCH_HOW": "single"}),
    Contender("dutiful, one at a time", "ours", {"BENCH_HOW": "single"}),
    Contender("dutiful, enqueue_many", "ours", {"BENCH_HOW": "bulk"}),
    Contender("bare pika, a new message each time", "ours", {"BENCH_HOW": "fresh"}),
    Contender("bare pika, one message over again", "ours", {"BENCH_HOW": "same"}),
]
SEND = """
import json, os, sys, time
from bench.sites.{site} import empty
how = os.environ["BENCH_HOW"]
for _ in range(100):
    empty.send()
if how in {{"fresh", "same"}}:
    from bench.sites.bare import Bare
    bare = Bare(fresh=how == "fresh")
for line in sys.stdin:
    count, took = int(line), []
    spent, began = time.process_time(), time.perf_counter()
    match how:
        case "bulk":
            empty.broker.enqueue_many(empty.message() for _ in range(count))
        case "fresh" | "same":
            began = time.perf_counter() - bare.publish(count)
        case "single":
            for _ in range(count):
                asked = time.perf_counter()
                empty.send()
                took.append(time.perf_counter() - asked)
    seconds = time.perf_counter() - began
    print(json.dumps([count / seconds, took, (time.process_time() - spent) / count]), flush=True)
empty.broker.close()
"""
MICROSECONDS = 1_000_000


class Turns:
    """What a contender did in its turns.

    Attributes:
      rates: messages a second, of each turn.
      waits: seconds, of each message that was sent alone.
      spent: seconds of processor time a message, of each turn.
    """

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.waits: list[float] = []
        self.spent: list[float] = []


def main() -> None:
    """Run the contest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=30)
    chosen = parser.parse_args()
    found = {contender.name: Turns() for contender in CONTENDERS}
    with broker() as stack, ExitStack() as open_places:
        processes = {each.name: open_places.enter_context(publishing(stack, each)) for each in CONTENDERS}
        for _ in range(chosen.rounds):
            for contender in CONTENDERS:
                # One at a time takes long, and says the same after a tenth.
                part = 10 if contender.environment["BENCH_HOW"] == "single" else 1
                take_turn(processes[contender.name], chosen.messages // chosen.rounds // part, found[contender.name])
    report({name: turns.rates for name, turns in found.items()}, "messages/s")
    for name, turns in found.items():
        sys.stdout.write(f"{name:<34} {statistics.median(turns.spent) * MICROSECONDS:>9,.0f} µs of processor time each")
        if turns.waits:
            waits = sorted(turns.waits)
            p50, p99 = (waits[int(len(waits) * part)] * MICROSECONDS for part in (0.5, 0.99))
            sys.stdout.write(f"   {p50:,.0f} µs p50   {p99:,.0f} µs p99")
        sys.stdout.write("\n")


@contextmanager
def publishing(stack: Stack, contender: Contender) -> Iterator["subprocess.Popen[str]"]:
    """A process that publishes as many messages as it is told, each time that it is told."""
    with ground(stack, contender) as place:
        command = [sys.executable, "-c", SEND.format(site=contender.site)]
        environment = place.environment | {"BENCH_JOBS": "0"}
        with subprocess.Popen(  # noqa: S603  our own code
            command, env=environment, cwd=place.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            yield process
            process.communicate()


def take_turn(process: "subprocess.Popen[str]", count: int, turns: Turns) -> None:
    """Let a process publish so many messages, and note what it says of them."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018  they are pipes
    process.stdin.write(f"{count}\n")
    process.stdin.flush()
    rate, waits, spent = json.loads(process.stdout.readline())
    turns.rates.append(rate)
    turns.waits += waits
    turns.spent.append(spent)


if __name__ == "__main__":
    main()
