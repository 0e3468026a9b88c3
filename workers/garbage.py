"""Garbage is looked for less often in a worker, which makes and drops the same few objects for each job."""

import gc
from typing import Final

# Containers made and not yet dropped. Python's 700 are less than the jobs that one process has in hand: each look then
# finds them all alive, and they grow old among the thousands of objects of the code, to be looked at with those.
_BETWEEN_LOOKS: Final = 50_000


def collect_less_often() -> None:
    """Leave what is there now, mostly code, out of every look from now on, and look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_BETWEEN_LOOKS)
