"""Times the steps of a rehearsal, tells each as it ends, and waits for what one needs."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from deploy.local import StackError
from deploy.rehearsal.ledger import Entry, waits
from deploy.rehearsal.report import Report, Step

PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.2


class Progress:
    """The steps of one rehearsal, written into its report.

    Parameters:
      say: is told each step as it ends.
    """

    def __init__(self, report: Report, say: Callable[[str], None]) -> None:
        self.report = report
        self.say = say
        self._moments: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time what is done in the block, which may say what it found."""
        step, began = Step(name), time.monotonic()
        self.report.steps.append(step)
        self._moments.append((name, time.time()))
        try:
            yield step
        finally:
            step.seconds = time.monotonic() - began
            self.say(f"{step.seconds:6.1f} s  {name}{f': {step.found}' if step.found else ''}")

    def write_waits(self, found: Sequence[Entry]) -> None:
        """Write down how long the jobs waited that were sent in each step."""
        for (name, since), (_, until_) in itertools.pairwise([*self._moments, ("", time.time())]):
            seen = waits(found, since, until_)
            if seen:
                self.report.waits[name] = seen


def wait(true: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
    """Wait until something is true; return whether it became so."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def until(true: Callable[[], bool], fault: str) -> None:
    """Wait until something is true.

    Raises:
      StackError: with this fault: it did not become so.
    """
    if not wait(true):
        raise StackError(fault, expected=f"progress within {PATIENCE_SECONDS:.0f} s", received="none")
