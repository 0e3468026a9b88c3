"""An arrival is one message as it came, bound to the channel that it must be settled on."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any


class Stream:
    """One channel's life. The same tag on another channel is another message.

    Attributes:
      channel: pika's.
      open: the tags that were delivered here and are not settled, lowest first; only the link's thread touches it.
      is_gone: nothing can be settled here any more; RabbitMQ gives the messages out again.
    """

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.open: OrderedDict[int, None] = OrderedDict()
        self.is_gone = False


@dataclass(slots=True, frozen=True)
class Arrival:
    """One message as it came, and the channel that it must be settled on."""

    stream: Stream
    tag: int
    redelivered: bool
    properties: Any
    body: bytes
