"""Replays every dead letter of the shop, and is killed at the line of the replay whose number it is given."""

import itertools
import os
import signal
import sys

import shop  # noqa: F401  declares the actors

from workers import dead_letters, dead_queue, replay
from workers.broker import setup_broker
from workers.choice import Choice

TRACED = {module.__file__ for module in (dead_letters, dead_queue, replay)}
KILLED_AT = int(sys.argv[1])
lines = itertools.count(1)
seen = []


def at_each_line(frame, event, _argument):
    if event == "line":
        seen[:] = [next(lines)]
        if seen == [KILLED_AT]:
            os.kill(os.getpid(), signal.SIGKILL)
    return at_each_line


def trace(frame, event, argument):
    return at_each_line(frame, event, argument) if frame.f_code.co_filename in TRACED else None


broker = setup_broker()
broker.declare_queue("shop", ensure=True)
if KILLED_AT:
    sys.settrace(trace)
tally = dead_letters.replay(broker, Choice(), reason="a test")
sys.settrace(None)
broker.close()
sys.stdout.write(f"{tally.done} {sum(seen)}\n")
