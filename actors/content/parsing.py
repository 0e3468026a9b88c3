"""Reads the JSON of one record; whatever the bytes are, the answer is a map or a reason."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from actors.content.rejection import Rejection, rejection
from actors.content.value import Value

DEEPEST = 32
MOST_DIGITS = 19
LONGEST_ID = 200
HIGHEST_VERSION = 2**31 - 1
_FIRST_MEMBER = re.compile(rb'^\s*\{\s*"source_id"\s*:\s*"([^"\\\x00-\x1f]{1,200})"')


class Refused(NamedTuple):
    """A record that can't be read, with its name and version where those are certain."""

    why: Rejection
    source_id: str = ""
    version: int | None = None


def parse(raw: bytes, size: int, limit: int) -> dict[str, Any] | Refused:
    """Return the map that a record is, or why it can't be one.

    Parameters:
      raw: the record's bytes, or its head where it is too long.
      size: how long it really is.
      limit: how long it may be.
    """
    if size > limit or size > len(raw):
        return _refused(raw, rejection("", f"at most {limit:,} bytes", f"{size:,} bytes: {_head(raw)}"))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        around = raw[max(0, error.start - 20) : error.start + 20]
        return _refused(raw, rejection("", f"UTF-8; byte {error.start} is not", around))
    # Before the parser: what it does with a thousand brackets differs from one Python to the next.
    if raw.count(b"[") + raw.count(b"{") > DEEPEST and (depth := nesting(raw)) > DEEPEST:
        return _refused(raw, rejection("", f"at most {DEEPEST} levels of nesting", f"{depth} levels: {_head(raw)}"))
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _refused(raw, rejection("", f"valid JSON: {error}", _around(text, error)))
    if not isinstance(record, dict):
        return Refused(rejection("", "a map of fields", text))
    return _checked(record)


def nesting(raw: bytes) -> int:
    """Return how deep the brackets of a text go."""
    value = Value()
    value.end(raw.lstrip())
    return value.deepest


def _checked(record: dict[str, Any]) -> dict[str, Any] | Refused:
    """Refuse values that no database and no page can hold, wherever they are in the record."""
    for path, value in leaves(record, ""):
        problem = _problem(value)
        if problem:
            return Refused(rejection(path, problem, str(value)[:300]), stated_id(record), stated_version(record))
    return record


def stated_id(record: dict[str, Any]) -> str:
    """Return the source_id of a record that is broken elsewhere; nothing where it can't be stored."""
    stated = record.get("source_id")
    if not isinstance(stated, str) or len(stated) > LONGEST_ID or _problem(stated):
        return ""
    return stated.strip()


def stated_version(record: dict[str, Any]) -> int | None:
    """Return the version of a record that is broken elsewhere."""
    revision = record.get("revision")
    version = revision.get("version") if isinstance(revision, dict) else None
    return version if type(version) is int and 0 <= version <= HIGHEST_VERSION else None


def _problem(value: Any) -> str:
    if isinstance(value, str):
        if "\x00" in value:
            return "text without NUL characters"
        try:
            value.encode()
        except UnicodeEncodeError:
            return "text without lone surrogates"
    elif isinstance(value, float):
        if value - value != 0:  # infinite, or not a number
            return "a finite number"
    elif isinstance(value, int) and not -(10**MOST_DIGITS) < value < 10**MOST_DIGITS:
        return f"a number of at most {MOST_DIGITS} digits"
    return ""


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every key and every single value below a value, with the path to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            inside = f"{path}.{key}" if path else key
            yield inside, key
            yield from leaves(inner, inside)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from leaves(inner, f"{path}.{place}")
    else:
        yield path, value


def _refused(raw: bytes, why: Rejection) -> Refused:
    """Name the record if its first member is a whole source_id; anything further in might be part of a text."""
    found = _FIRST_MEMBER.match(raw)
    return Refused(why, found[1].decode("utf-8", "replace").strip() if found else "")


def _head(raw: bytes) -> str:
    return raw[:120].decode("utf-8", "backslashreplace")


def _around(text: str, error: Exception) -> str:
    at = error.pos if isinstance(error, json.JSONDecodeError) else 0
    return text[max(0, at - 60) : at + 60]
