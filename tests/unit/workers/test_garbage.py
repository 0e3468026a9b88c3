"""Jobs leave nothing to the garbage collector, which looks seldom in a worker."""

import gc
import subprocess
import sys

import pytest

from workers import actor
from workers.broker import setup_broker
from workers.delivery import Delivery
from workers.job import Job
from workers.watch import Attempt

CARD = {"owner": "tests", "expects": "nothing", "rollback": "none"}
setup_broker()

CYCLES = """
import gc, weakref
from workers.garbage import collect_less_often

class Node:
    def __init__(self):
        self.me = self

collect_less_often()
assert gc.get_freeze_count() > 1_000
first = weakref.ref(Node())
looks = gc.get_stats()[0]["collections"]
for _ in range(200_000):
    Node()
assert first() is None
print(gc.get_stats()[0]["collections"] - looks)
"""


def test_what_refers_to_itself_is_still_found_and_seldom_looked_for():
    ran = subprocess.run([sys.executable, "-c", CYCLES], capture_output=True, text=True, check=True)

    assert 1 <= int(ran.stdout) <= 10


@actor(**CARD, actor_name="garbage.kept")
def kept() -> None:
    """Has a record."""


@actor(**CARD, actor_name="garbage.unkept", key=None)
def unkept() -> None:
    """Has none."""


@pytest.fixture
def what_is_left():
    """Keeps what only the garbage collector would find."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize("job", [kept, unkept], ids=["kept", "unkept"])
def test_a_job_that_has_ended_leaves_nothing_that_refers_to_itself(jobs, job, what_is_left):
    for _ in range(10):
        job.send()
    jobs.run()
    gc.collect()

    assert len(jobs.outcomes) == 10
    assert [each for each in what_is_left if isinstance(each, Attempt | Delivery | Job)] == []
