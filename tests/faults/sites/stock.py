"""Stock Dramatiq with confirms, for what it does in processes that are killed."""

import os
import time
from pathlib import Path

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

broker = RabbitmqBroker(url=os.environ["DUTIFUL_RABBITMQ__URL"], confirm_delivery=True)
broker.middleware[:] = [each for each in broker.middleware if type(each).__name__ != "Prometheus"]
dramatiq.set_broker(broker)
LEDGER = Path(os.environ["SHOP_LEDGER"])


def write(line: str) -> None:
    with LEDGER.open("a") as ledger:
        ledger.write(f"{line}\n")


@dramatiq.actor(queue_name="shop")
def good(n: int) -> None:
    write(f"good {n}")


@dramatiq.actor(queue_name="shop")
def slow(n: int, seconds: float) -> None:
    write(f"slow {n} began")
    time.sleep(seconds)
    write(f"slow {n} ended")


@dramatiq.actor(queue_name="shop")
def gated(n: int) -> None:
    while not LEDGER.with_name("gate").exists():
        time.sleep(0.05)
    write(f"gated {n}")
