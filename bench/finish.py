"""The finish line notes when the first and the last of a number of jobs has run, or how long each has waited."""

import json
import os
import statistics
import threading
import time
from pathlib import Path

_lock = threading.Lock()
_count = 0
_began = 0.0
_waits: list[float] = []


def finished() -> None:
    """Count one job; the last one writes the rate, in jobs a second, to the file BENCH_RESULT."""
    global _count, _began  # noqa: PLW0603  the cheapest counter there is
    with _lock:
        _count += 1
        if _count == 1:
            _began = time.perf_counter()
        elif _count == int(os.environ["BENCH_JOBS"]):
            rate = (_count - 1) / (time.perf_counter() - _began)
            Path(os.environ["BENCH_RESULT"]).write_text(f"{rate:.0f}")


def waited(sent: float) -> None:
    """Note how long one job has waited; the last one writes percentiles, in microseconds, to the file BENCH_RESULT."""
    with _lock:
        _waits.append((time.time() - sent) * 1e6)
        if len(_waits) == int(os.environ["BENCH_JOBS"]):
            cuts = statistics.quantiles(_waits, n=100)
            Path(os.environ["BENCH_RESULT"]).write_text(json.dumps({"p50": cuts[49], "p99": cuts[98]}))
