from datetime import timedelta

from workers.store import turns
from workers.store.engine import begin

LONG, SHORT = timedelta(minutes=1), timedelta(seconds=-1)


def take(engine, holder, lasts=LONG, name="sweeping"):
    with begin(engine) as connection:
        return turns.take(connection, name, holder, lasts)


def test_one_holder_has_the_turn_and_keeps_it(engine):
    assert [take(engine, holder) for holder in ("a", "b", "a", "b")] == [True, False, True, False]


def test_a_turn_that_is_over_goes_to_the_next(engine):
    take(engine, "a", SHORT)

    assert take(engine, "b")
    assert not take(engine, "a")


def test_turns_of_different_names_are_apart(engine):
    assert take(engine, "a")
    assert take(engine, "b", name="counting")
