"""Looks for garbage in a worker; each test in a process of its own, because they change all of it."""

import subprocess
import sys

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
