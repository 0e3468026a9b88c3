"""A queue of brief jobs that is fetched deep, beside one whose jobs wait for a gate."""

import os
import time
from pathlib import Path

from shop import CARD, actor, current_job, write


@actor(**CARD | {"queue_name": "brief"}, short=True)
def brief(n: int) -> None:
    write(f"brief {n} {current_job().attempt} {time.monotonic()}")
    time.sleep(0.2)


@actor(**CARD)
def long(n: int) -> None:
    write(f"long {n} began")
    while not Path(os.environ["SHOP_LEDGER"]).with_name(f"gate {n}").exists():
        time.sleep(0.05)
    write(f"long {n} ended")
