"""The finish line notes when the first and the last of a number of jobs has run, or how long each has waited."""

import itertools
import json
import os
import statistics
import time
from pathlib import Path

_jobs = int(os.environ.get("BENCH_JOBS", "0"))
# Counting takes no lock: eight threads that stand in line for it would be what is measured.
_number = itertools.count(1)
_began: list[float] = []
_waits: list[float] = []


def finished() -> None:
    """Count one job; the last one writes the rate, in jobs a second, to the file BENCH_RESULT."""
    number = next(_number)
    if number == 1:
        _began.append(time.perf_counter())
    elif number == _jobs:
        rate = (_jobs - 1) / (time.perf_counter() - _began[0])
        Path(os.environ["BENCH_RESULT"]).write_text(f"{rate:.0f}")


def waited(sent: float) -> None:
    """Note how long one job has waited; the last one writes percentiles, in microseconds, to the file BENCH_RESULT."""
    _waits.append((time.time() - sent) * 1e6)
    if next(_number) == _jobs:
        cuts = statistics.quantiles(_waits, n=100)
        Path(os.environ["BENCH_RESULT"]).write_text(json.dumps({"p50": cuts[49], "p99": cuts[98]}))
