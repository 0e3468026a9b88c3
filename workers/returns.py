"""Returns brings the messages of actors that are paused no longer back to their queues."""

import logging
import threading
import time
from datetime import datetime, timedelta
from typing import Final

from workers.clock import utcnow
from workers.errors import DutifulError
from workers.parking import Parking

_OFTEN_SECONDS: Final = 3.0
_SELDOM_SECONDS: Final = 60.0
_RECENT: Final = timedelta(minutes=10)

_log = logging.getLogger(__name__)


class Returns:
    """Looks often soon after a pause, and now and then later: a process may have been away, or held up and parking on.

    Every worker process does so; each message is one's.

    Parameters:
      stopping: ends it.

    Attributes:
      ended: actors whose pause is over, and since when; another thread sets it.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self.ended: dict[str, datetime] = {}
        self._stopping = stopping
        self._seldom_at = 0.0

    def run(self, broker: Parking) -> None:
        """Bring back until stopped."""
        while not self._stopping.wait(_OFTEN_SECONDS):
            for actor in self._worth_a_look():
                self._bring_back(broker, actor)

    def _worth_a_look(self) -> list[str]:
        ended = self.ended
        if time.monotonic() >= self._seldom_at:
            self._seldom_at = time.monotonic() + _SELDOM_SECONDS
            return list(ended)
        return [actor for actor, since in ended.items() if utcnow() - since < _RECENT]

    def _bring_back(self, broker: Parking, actor: str) -> None:
        def is_wanted() -> bool:
            return actor in self.ended and not self._stopping.is_set()

        try:
            if broker.parked(actor):
                _log.info("%d messages of %s are back in their queues", broker.bring_back(actor, is_wanted), actor)
        except DutifulError as error:
            _log.warning("messages of %s stay parked for now: %s", actor, error)
