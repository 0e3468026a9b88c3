"""What periodiq sees of us keeps its loop in the part that works."""

import pendulum
import pytest

from scheduling.scheduler import Stop, Wakeups


def test_the_loop_never_sleeps_for_a_second_or_more():
    for long_ago in (0, 60, 3600):
        now = pendulum.now().subtract(seconds=long_ago)  # a run that took long
        delay = (Wakeups().next_valid_date(now) - pendulum.now()).total_seconds()
        assert 0.5 < delay < 1


def test_the_engine_is_due_at_the_start_and_not_at_every_turn_of_the_loop():
    wakeups = Wakeups()
    assert wakeups.validate(pendulum.now())
    assert not wakeups.validate(pendulum.now())


def test_a_signal_ends_the_process_at_once_when_no_tick_is_in_hand():
    with pytest.raises(SystemExit) as left:
        Stop()._ask(15, None)
    assert left.value.code == 0
