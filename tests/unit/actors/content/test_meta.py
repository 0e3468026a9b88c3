"""Meta: a list or a map of anything becomes a list that renders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.content.meta import MOST_ENTRIES, as_entries

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=30,
)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (None, []),
        ([], []),
        ({}, []),
        ("one", ["one"]),
        (["a", 3, True, False, 1.5], ["a", "3", "yes", "no", "1.5"]),
        (["a", ["b", ["c", None, ""]], "a"], ["a", "b", "c"]),
        (["  two\n words\x00\x07 "], ["two words"]),
        ({"k": "v"}, [{"label": "k", "value": "v"}]),
        ({"k": ["a", ["b"], None]}, [{"label": "k", "value": "a, b"}]),
        ({"k": {"inner": 1}}, [{"label": "k / inner", "value": "1"}]),
        ({"k": [], "l": None, "": "bare"}, ["bare"]),
        ([{"name": "RabbitMQ", "type": "tool"}], [{"label": "RabbitMQ", "value": "tool"}]),
        ([{"name": "RabbitMQ", "type": None}], ["RabbitMQ"]),
        ([{"name": "RabbitMQ"}], [{"label": "name", "value": "RabbitMQ"}]),
        (
            {"name": "RabbitMQ", "type": "tool"},
            [{"label": "name", "value": "RabbitMQ"}, {"label": "type", "value": "tool"}],
        ),
        (["<b>bold</b>"], ["<b>bold</b>"]),
    ],
)
def test_meta_becomes_a_list_of_texts_and_pairs(given, stored):
    assert as_entries(given) == stored


@given(anything)
def test_whatever_json_can_hold_becomes_clean_entries_or_is_refused(value):
    try:
        entries = as_entries(value)
    except ValueError:
        return
    assert isinstance(entries, list)
    for entry in entries:
        assert isinstance(entry, str) or set(entry) == {"label", "value"}
        for text in [entry] if isinstance(entry, str) else entry.values():
            assert text == " ".join(text.split())
            assert text
            assert "\x00" not in text
            text.encode()  # no lone surrogates: it can be stored
    assert len({str(entry) for entry in entries}) == len(entries) <= MOST_ENTRIES


@given(anything)
def test_cleaning_twice_changes_nothing(value):
    try:
        once = as_entries(value)
    except ValueError:
        return
    assert as_entries(once) == once


def test_more_than_a_page_can_show_is_refused_and_not_cut():
    assert len(as_entries([str(number) for number in range(MOST_ENTRIES)])) == MOST_ENTRIES
    with pytest.raises(ValueError, match="at most 200 entries"):
        as_entries([str(number) for number in range(MOST_ENTRIES + 1)])
    with pytest.raises(ValueError, match="at most 2000 characters"):
        as_entries(["x" * 2001])
