"""An empty job on stock Dramatiq."""

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bench.finish import finished, waited

dramatiq.set_broker(RabbitmqBroker(url=os.environ["BENCH_URL"], confirm_delivery=True))


@dramatiq.actor(queue_name="bench")
def empty() -> None:
    """Do nothing but be counted."""
    finished()


@dramatiq.actor(queue_name="bench")
def timed(sent: float) -> None:
    """Say how long it has waited."""
    waited(sent)
