"""The error tree."""

import inspect
import pickle
from datetime import timedelta

import pytest

from workers import errors
from workers.errors import DutifulError

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DutifulError)]
MORE = {"RetryLater": {"delay": timedelta(seconds=1)}, "Deferred": {"why": "w", "delay": timedelta(seconds=1)}}
MORE["HookFailed"] = MORE["KeyInHand"] = MORE["Deferred"]


def made(kind):
    return kind("it failed", expected="this", received="that", **MORE.get(kind.__name__, {}))


@pytest.mark.parametrize("kind", TREE)
def test_every_error_says_the_four_things(kind):
    error = made(kind)

    assert (error.what, error.expected, error.received) == ("it failed", "this", "that")
    assert isinstance(error.safe_to_retry, bool)
    for said in ("it failed", "this", "that", "safe to try again"):
        assert said in str(error)


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_drawn_in_the_tree(kind):
    assert f" {kind.__name__} " in errors.__doc__.replace("\n", " \n")


@pytest.mark.parametrize("kind", TREE)
def test_every_error_survives_pickling(kind):
    error = made(kind)

    again = pickle.loads(pickle.dumps(error))

    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__
