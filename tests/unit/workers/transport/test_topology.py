"""The delay ladder's arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import ContractError
from workers.transport import topology


def time_on_the_ladder(exchange, key):
    """What the broker would do: each level whose bit is set holds the message, the others pass it on."""
    bits = key.split(".")[: topology.LEVELS]
    entered = int(exchange.rpartition(".")[2])
    return sum(
        topology.UNIT_MS * 2**number
        for place, number in enumerate(reversed(range(topology.LEVELS)))
        if bits[place] == "1" and number <= entered
    )


@given(st.integers(1, 10 * 60 * 1000))
def test_a_delay_up_to_ten_minutes_is_kept_to_the_next_tenth_of_a_second(delay):
    held = time_on_the_ladder(*topology.delay_route(delay, "mail"))

    assert delay <= held < delay + topology.UNIT_MS


@given(st.integers(10 * 60 * 1000 + 1, topology.LONGEST_DELAY_MS))
def test_a_longer_delay_is_at_most_half_a_percent_late_and_never_early(delay):
    held = time_on_the_ladder(*topology.delay_route(delay, "mail"))

    assert min(delay, topology.LONGEST_DELAY_MS) <= held <= delay * 1.005 + topology.UNIT_MS


def test_a_delay_beyond_the_ladder_is_refused_with_the_limit():
    with pytest.raises(ContractError, match=str(topology.LONGEST_DELAY_MS)):
        topology.delay_route(topology.LONGEST_DELAY_MS + 1, "mail")


def test_a_name_with_dots_is_one_word_so_that_it_matches_no_other_queue():
    _, key = topology.delay_route(1000, "a.b")

    assert key.count(".") == topology.LEVELS
    assert key.endswith(".a%2Eb")


def test_no_two_queue_names_share_an_address():
    names = ["a.b", "a%2Eb", "a%b", "a_b"]

    assert len({topology.delay_route(100, name)[1] for name in names}) == len(names)
