"""A job that says how long it has waited, and how often it has run."""

import time

from shop import CARD, actor, current_job, write


@actor(**CARD)
def wait(n: int, sent: float) -> None:
    """The time is the clock of this machine, which has one."""
    write(f"{n} {time.time() - sent:.3f} {current_job().attempt}")
    time.sleep(0.01)
