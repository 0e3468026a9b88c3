"""A queue of jobs that wait for a gate, in a broker that gives a message up after ten deliveries instead of fifty."""

import os
import time
from importlib import import_module
from pathlib import Path

from workers.transport import topology

topology.DELIVERY_LIMIT = 10  # before anything reads it
shop = import_module("shop")


@shop.actor(**shop.CARD | {"queue_name": "gated"}, key=None, short=True)
def gated(n: int) -> None:
    while not Path(os.environ["SHOP_LEDGER"]).with_name("gate").exists():
        time.sleep(0.05)
    shop.write(f"gated {n}")
