"""Upkeep is what the site's own schedules do for the runtime: removing what nobody needs, and proving that jobs run."""

from collections.abc import Mapping
from datetime import timedelta

from dramatiq import Message

from workers.broker import setup_broker
from workers.declaration import Actor
from workers.settings import settings
from workers.store.purge import purge


def remove_old_rows() -> Mapping[str, int]:
    """Remove ended keys, old ticks and the like from the store, in small batches. It may be stopped at any moment.

    Returns:
      how many rows of each table.

    Raises:
      StoreUnavailable: the store can't be reached; what was removed is gone.
    """
    return purge(setup_broker().store, key_ttl=timedelta(seconds=settings().store.key_ttl_seconds))


def send_through_every_queue(probe: Actor[[str], None]) -> None:
    """Send a job into each queue of this process, with the queue's name as its argument.

    Raises:
      PublishError: one was not, or perhaps not, taken.
    """
    broker = setup_broker()
    for queue in sorted(broker.get_declared_queues()):
        message: Message[None] = probe.message(queue)
        broker.enqueue(message.copy(queue_name=queue))
