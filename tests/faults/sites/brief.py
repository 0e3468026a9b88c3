"""A queue of brief jobs that is fetched deep, beside those of `shop`."""

import time

from shop import CARD, actor, current_job, write


@actor(**CARD | {"queue_name": "brief"}, short=True)
def brief(n: int) -> None:
    write(f"brief {n} {current_job().attempt} {time.monotonic()}")
    time.sleep(0.2)
