"""No interrupt arrives outside of the function that it is meant for."""

import threading
import time
from contextlib import suppress

import pytest
from dramatiq.middleware import TimeLimitExceeded

from workers.guard import Guard, run_next, watched

ROUNDS = 300


def test_an_interrupt_arrives_in_the_function():
    guard = Guard.of_this_thread()
    threading.Timer(0.05, guard.interrupt, [TimeLimitExceeded]).start()

    with pytest.raises(TimeLimitExceeded):
        guard.run(lambda: [time.sleep(0.01) for _ in range(1000)])


def test_an_interrupt_that_comes_as_the_function_ends_arrives_nowhere_else():
    """Many times, at about the moment in which it returns."""
    for number in range(ROUNDS):
        guard = Guard.of_this_thread()
        begun = threading.Event()
        other = threading.Thread(target=lambda g=guard, b=begun: (b.wait(), g.interrupt(TimeLimitExceeded)))
        other.start()

        def ends_soon(begun=begun, number=number):
            begun.set()
            return sum(range(number * 20))

        with suppress(TimeLimitExceeded):
            guard.run(ends_soon)
        other.join()
        assert not guard.interrupt(TimeLimitExceeded)


def test_only_the_next_call_is_run_by_the_worker():
    run = []
    fn = watched(lambda: len(run))
    run_next(lambda call: (run.append(call), call())[1])

    assert (fn(), fn(), len(run)) == (1, 1, 1)
