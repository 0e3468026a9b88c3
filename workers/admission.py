"""Admission prepares deliveries many at a time, and keeps here those that must wait before they can begin."""

import time
from collections import deque
from typing import Final

from dramatiq.logging import get_logger

from workers.delivery import Delivery
from workers.errors import KeyInHand, StoreUnavailable
from workers.hooks import HookedBroker

_PROBE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.01
_PATIENCE_SECONDS: Final = 1.0


class Admission:
    """What a consumer has received and not yet given to Dramatiq.

    While the store is away, messages that need it wait here: nothing is published for them, and each second they ask
    again. A message whose key another job of this process has waits for that job's end, but not for long.
    """

    def __init__(self, broker: HookedBroker) -> None:
        self.broker = broker
        self.logger = get_logger(__name__, type(self))  # type: ignore[no-untyped-call]
        self.ready: deque[Delivery] = deque()
        self._held: list[Delivery] = []
        self._look_again_at = 0.0
        self._store_is_away = False

    def wait(self, seconds: float) -> float:
        """How long the consumer may wait for messages: at most `seconds`, less when one here is to be looked at."""
        if not self._held:
            return seconds
        return max(0.0, min(seconds, self._look_again_at - time.monotonic()))

    def admit(self, deliveries: list[Delivery]) -> None:
        """Prepare these, and those that have waited long enough for another look."""
        if self._held and time.monotonic() >= self._look_again_at:
            deliveries, self._held = [*self._held, *deliveries], []
        if not deliveries:
            return
        for delivery in deliveries:
            delivery.refusal = None
        self.broker.prepare(deliveries)
        for delivery in deliveries:
            (self._held if self._must_wait(delivery) else self.ready).append(delivery)
        self._note(any(isinstance(each.refusal, StoreUnavailable) for each in self._held))

    def withdraw(self) -> list[Delivery]:
        """Everything that is here; from now on it isn't."""
        here = [*self.ready, *self._held]
        self.ready.clear()
        self._held.clear()
        return here

    def _must_wait(self, delivery: Delivery) -> bool:
        if isinstance(delivery.refusal, KeyInHand):
            return not delivery.is_stale and time.monotonic() < delivery.received + _PATIENCE_SECONDS
        return isinstance(delivery.refusal, StoreUnavailable)

    def _note(self, is_away: bool) -> None:
        if self._held:
            self._look_again_at = time.monotonic() + (_PROBE_SECONDS if is_away else _LOOK_SECONDS)
        if is_away != self._store_is_away:
            self._store_is_away = is_away
            said = "The store is away; %d messages wait here for it." if is_away else "The store is back."
            self.logger.warning(said, *([len(self._held)] if is_away else []))
