"""A rejection says what is wrong with one record."""

import re
from typing import Any, NamedTuple

EXCERPT = 200
LONGEST_FIELD = 100
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Rejection(NamedTuple):
    """One thing that is wrong with a record; a record may have several.

    Attributes:
      field: where in the record, such as score.quality; empty for the record itself.
      expected: what would have been right.
      received: the first 200 characters of what was there.
      safe_to_retry: whether sending the record again can do no harm. Importing is repeatable, so it never can.
    """

    field: str
    expected: str
    received: str
    safe_to_retry: bool = True


def rejection(field: str, expected: str, received: Any) -> Rejection:
    """Build a rejection with an excerpt that can be shown and stored anywhere."""
    text = received if isinstance(received, str) else received.decode("utf-8", "backslashreplace")
    return Rejection(shown(field, LONGEST_FIELD), shown(expected), shown(text))


def shown(text: str, longest: int = EXCERPT) -> str:
    """Return the beginning of a text, with what can't be shown or stored written out as escapes."""
    escaped = _UNSHOWABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text[: longest + 1])
    return escaped if len(escaped) <= longest else escaped[: longest - 1] + "…"
