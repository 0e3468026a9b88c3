"""An arrival is one message as it came, bound to the channel that it must be settled on."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.transport.subscription import Subscription


class Stream:
    """One channel's life. The same tag on another channel is another message.

    Attributes:
      channel: pika's.
      subscription: whose messages come here.
      open: the tags that were delivered here and are not settled, lowest first; only the link's thread touches it.
      is_gone: nothing can be settled here any more; RabbitMQ gives the messages out again.
    """

    def __init__(self, channel: Any, subscription: "Subscription") -> None:
        self.channel = channel
        self.subscription = subscription
        self.open: OrderedDict[int, None] = OrderedDict()
        self.is_gone = False

    def acknowledge(self, tags: list[int]) -> None:
        """Acknowledge tags, with one frame for all of those below which nothing is open. On the link's thread."""
        lowest = next(iter(self.open), None)
        below = [tag for tag in tags if lowest is None or tag < lowest]
        if below:
            self.channel.basic_ack(max(below), multiple=True)
        for tag in tags:
            if lowest is not None and tag > lowest:
                self.channel.basic_ack(tag)

    def hand_back(self, tag: int) -> None:
        """Give a message back to its queue. On the link's thread."""
        if not self.is_gone and tag in self.open:
            del self.open[tag]
            self.channel.basic_nack(tag, requeue=True)


@dataclass(slots=True)
class Arrival:
    """One message as it came, and the channel that it must be settled on."""

    stream: Stream
    tag: int
    redelivered: bool
    properties: Any
    body: bytes
