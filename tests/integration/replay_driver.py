"""Replays every dead letter of the shop for each line of input, in a child that is killed at the line of that number.

What takes long to import is imported once, here. For each line of input it writes one: how many lines of the replay the
child ran, `killed`, or `held` when RabbitMQ had not yet noticed that the child before is dead.
"""

import contextlib
import importlib
import itertools
import os
import signal
import sys

from workers import dead_letters, dead_queue, replay
from workers.broker import setup_broker
from workers.choice import Choice
from workers.errors import QueueHeld

TRACED = {module.__file__ for module in (dead_letters, dead_queue, replay)}


def tracer(killed_at):
    """What counts lines, kills at one of them, and says how many there were."""
    numbers, seen = itertools.count(1), [0]

    def at_each_line(frame, event, _argument):
        if event == "line":
            seen[0] = next(numbers)
            if seen[0] == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return at_each_line

    def trace(frame, event, argument):
        return at_each_line(frame, event, argument) if frame.f_code.co_filename in TRACED else None

    return trace, seen


def replay_all(killed_at):
    """Replay everything, and be killed at a line: 0 for not at all, -1 for counting only."""
    importlib.import_module("shop")  # declares the actors
    broker = setup_broker()
    broker.declare_queue("shop", ensure=True)
    trace, seen = tracer(killed_at)
    if killed_at:
        sys.settrace(trace)
    with contextlib.suppress(QueueHeld):
        dead_letters.replay(broker, Choice(), reason="a test")
        sys.settrace(None)
        broker.close()
        return str(seen[0])
    return "held"


for line in sys.stdin:
    child = os.fork()
    if not child:
        print(replay_all(int(line)), flush=True)  # noqa: T201  the answer
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        print("killed", flush=True)  # noqa: T201  the answer
    elif status:
        sys.exit("the replay failed, and has said why")
