"""Turns the loose parts of a post, lists or maps of anything, into lists that a template can render.

One rule for all of them. What comes out is a list of entries, and an entry is a text or a pair
`{"label": text, "value": text}`:

    "a", 3, true                    a text: "a", "3", "yes"
    [..]                            its entries in a row, nested lists flattened
    {"name": n, "type": t}          in a list: the pair n, t; the same with "label" and "value"
    {"k": v}                        the pair k, v; v being a list: its texts joined by ", "; a map: pairs "k / inner"
    null, "", [], {}                nothing

A text is cleaned: control characters go, runs of white space become one space. An entry that is there already is left
out. So cleaning twice changes nothing.
"""

import re
from collections.abc import Iterator
from typing import Any, TypedDict

MOST_ENTRIES = 200
LONGEST_TEXT = 2000
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_PAIRS = (("label", "value"), ("name", "type"))


class Pair(TypedDict):
    """A labelled entry."""

    label: str
    value: str


Entry = str | Pair


def as_entries(value: Any) -> list[Entry]:
    """Return anything that JSON can hold as a list of entries.

    Raises:
      ValueError: more entries, or a longer text, than a page can show.
    """
    found: list[Entry] = []
    seen: set[tuple[str, ...]] = set()
    for entry in _pairs(value, "") if isinstance(value, dict) else _entries(value):
        texts = (entry,) if isinstance(entry, str) else (entry["label"], entry["value"])
        if texts in seen:
            continue
        if len(found) == MOST_ENTRIES:
            raise ValueError(f"at most {MOST_ENTRIES} entries")
        if any(len(text) > LONGEST_TEXT for text in texts):
            raise ValueError(f"texts of at most {LONGEST_TEXT} characters")
        seen.add(texts)
        found.append(entry)
    return found


def _entries(value: Any) -> Iterator[Entry]:
    if isinstance(value, list):
        for item in value:
            yield from _entries(item)
    elif isinstance(value, dict):
        yield from _as_pair(value) or _pairs(value, "")
    elif text := as_text(value):
        yield text


def _as_pair(value: dict[str, Any]) -> list[Entry]:
    """Return the one pair that a map with these two keys stands for, or nothing."""
    for label, inner in _PAIRS:
        if value.keys() == {label, inner} and not isinstance(value[label], list | dict):
            named = as_text(value[label])
            if isinstance(value[inner], list | dict):
                return list(_pairs({named: value[inner]}, ""))
            texts = [text for text in (named, as_text(value[inner])) if text]
            return [Pair(label=texts[0], value=texts[1])] if len(texts) == len(_PAIRS) else list[Entry](texts)
    return []


def _pairs(value: dict[str, Any], outer: str) -> Iterator[Entry]:
    for key, inner in value.items():
        label = " / ".join(text for text in (outer, as_text(key)) if text)
        if isinstance(inner, dict):
            yield from _pairs(inner, label)
            continue
        texts = list(_texts(inner))
        if not texts:
            continue
        if label:
            yield Pair(label=label, value=", ".join(texts))
        else:
            yield from texts


def _texts(value: Any) -> Iterator[str]:
    """Return every text below a value, in order."""
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, inner in value.items():
            texts = list(_texts(inner))
            if texts:
                yield ": ".join(text for text in (as_text(key), ", ".join(texts)) if text)
    elif text := as_text(value):
        yield text


def as_text(value: Any) -> str:
    """Return a single value as clean text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(_CONTROL.sub("", str(value)).split())
