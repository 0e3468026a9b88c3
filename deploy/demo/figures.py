"""Adds up a worker's metrics over its restarts.

A worker that is killed with its parent starts again at zero. As Prometheus does, a counter that went down is taken to
have restarted; what it counted between the last reading and the kill is not seen, and the table says so.
"""

import math
import urllib.request
from collections import defaultdict
from http.client import HTTPException
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, frozenset[tuple[str, str]]]


class Quantile(NamedTuple):
    """A value, and the bucket that is all a histogram really knows of it."""

    value: float
    low: float
    high: float


class Figures:
    """The sums of every counter and histogram at one address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.last: dict[Series, float] = {}
        self.total: defaultdict[Series, float] = defaultdict(float)

    def read(self) -> bool:
        """Read the metrics once; False if nobody answers, as while the worker restarts."""
        try:
            with urllib.request.urlopen(self.url, timeout=5) as answer:  # noqa: S310  our own worker's address
                text = answer.read().decode()
        except (OSError, HTTPException):  # the latter: it is killed while it answers
            return False
        for family in text_string_to_metric_families(text):
            if family.type in {"counter", "histogram"}:
                for sample in family.samples:
                    self.add((sample.name, frozenset(sample.labels.items())), sample.value)
        return True

    def add(self, series: Series, value: float) -> None:
        """Take in one reading of one series."""
        before = self.last.get(series, 0.0)
        self.total[series] += value - before if value >= before else value
        self.last[series] = value

    def count(self, name: str, **labels: str) -> int:
        """Return the sum of a counter over all series with these labels."""
        wanted = set(labels.items())
        return round(sum(value for (found, given), value in self.total.items() if found == name and wanted <= given))

    def quantile(self, name: str, share: float) -> Quantile:
        """Return a quantile of a histogram in its unit, interpolated inside its bucket as PromQL does."""
        buckets: defaultdict[float, float] = defaultdict(float)
        for (found, labels), value in self.total.items():
            if found == f"{name}_bucket":
                buckets[float(dict(labels)["le"])] += value
        wanted = share * buckets.get(math.inf, 0.0)
        below, seen = 0.0, 0.0
        for bound in sorted(buckets):
            if buckets[bound] >= wanted and buckets[bound] > seen:
                inside = (wanted - seen) / (buckets[bound] - seen)
                value = below if bound == math.inf else below + inside * (bound - below)
                return Quantile(value, below, bound)
            below, seen = bound, buckets[bound]
        return Quantile(math.nan, math.nan, math.nan)
