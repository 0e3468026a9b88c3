"""A histogram takes many observations at once.

Import it late, as workers.metrics.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import prometheus_client

_Note = TypeVar("_Note")


class Histogram(prometheus_client.Histogram):
    """As prometheus_client's, which takes its lock twice an observation."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._noted: deque[float] = deque()

    def note(self, amount: float) -> None:
        """Observe this when it is next added up; it needs no lock."""
        self._noted.append(amount)

    def add_up(self) -> None:
        """Show what was noted. By one thread at a time."""
        self.observe_many(taken(self._noted))

    def observe_many(self, amounts: Sequence[float]) -> None:
        """Observe these, each as `observe` would."""
        if not amounts:
            return
        self._sum.inc(sum(amounts))
        for bucket, count in Counter(map(partial(bisect_left, self._upper_bounds), amounts)).items():
            self._buckets[bucket].inc(count)


def taken(notes: deque[_Note]) -> list[_Note]:
    """As many notes as there are now: more may come meanwhile."""
    return [notes.popleft() for _ in range(len(notes))]
