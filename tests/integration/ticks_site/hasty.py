"""A scheduler whose clock runs fast, and which kills itself at a step: hasty.py SPEED BEGAN STEP [AFTER].

Its clock began at BEGAN, a Unix time, and shows SPEED seconds for each that passes. It dies by SIGKILL at its AFTERth
tick: when that is recorded and not yet published, published and not yet marked, or marked. STEP none: it lives.
The file that CLOCK names, where there is one, says by how many seconds somebody has set the clock.
"""

import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sweeping import sweep

from scheduling import ticks as engine_module
from scheduling.cron import Cron
from scheduling.schedule import Schedule
from scheduling.ticks import TickEngine
from workers.settings import settings
from workers.store import ticks
from workers.store.engine import create_store_engine

speed, began, step, *after = sys.argv[1:]
left = int(after[0]) if after else 0


def clock():
    set_by = Path(os.environ.get("CLOCK", os.devnull)).read_text() or 0
    return datetime.fromtimestamp(float(began) + (time.time() - float(began)) * float(speed) + float(set_by), UTC)


def die(here):
    """Now, if this is the step and the time has come."""
    global left  # noqa: PLW0603  one number, in a script
    if here == step:
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


publish, mark = engine_module.publish, ticks.published


def publish_or_die(*arguments):
    die("recorded")
    publish(*arguments)
    die("marked")


def mark_or_die(*arguments):
    die("published")
    mark(*arguments)


engine_module.publish, ticks.published = publish_or_die, mark_or_die
store = create_store_engine(settings().store.url.get_secret_value(), clock=clock)
schedule = Schedule("sweep", sweep, Cron("* * * * *"), owner="tests", missed="run_all", window=timedelta(days=60))
engine = TickEngine(store, [schedule], clock)
print("ready", flush=True)  # noqa: T201
while True:
    engine.run_once()
    time.sleep(0.05)
