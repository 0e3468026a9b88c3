"""Breaks a post in one way at a time, together with the field that a reader must complain about."""

import json
from collections.abc import Callable

from deploy.demo.articles import Post

RECORD = ""  # the field of a complaint about the record as a whole

Flaw = Callable[[Post], tuple[bytes, str]]


def encoded(post: Post) -> bytes:
    """Return the post as one line of JSON, in UTF-8."""
    return json.dumps(post, ensure_ascii=False, separators=(",", ":")).encode()


def without_title(post: Post) -> tuple[bytes, str]:
    """A required field is missing."""
    del post["title"]
    return encoded(post), "title"


def without_source_id(post: Post) -> tuple[bytes, str]:
    """The field that says which post it is, is missing."""
    del post["source_id"]
    return encoded(post), "source_id"


def words_for_a_number(post: Post) -> tuple[bytes, str]:
    """A wrong type."""
    return encoded(post | {"view_count": "quite a few"}), "view_count"


def a_list_for_a_text(post: Post) -> tuple[bytes, str]:
    """A wrong type."""
    return encoded(post | {"body": [post["body"]]}), "body"


def a_negative_time(post: Post) -> tuple[bytes, str]:
    """A number out of range."""
    return encoded(post | {"reading_time": -5}), "reading_time"


def a_score_out_of_range(post: Post) -> tuple[bytes, str]:
    """A number out of range, inside an object."""
    return encoded(post | {"score": post["score"] | {"quality": 1e9}}), "score.quality"


def cut_short(post: Post) -> tuple[bytes, str]:
    """A line that stops in the middle: not JSON."""
    line = encoded(post)
    return line[: len(line) // 2], RECORD


def not_utf8(post: Post) -> tuple[bytes, str]:
    """Bytes that are no UTF-8, in the middle of a text."""
    return encoded(post | {"summary": "caf@"}).replace(b"caf@", b"caf\xe9\xff"), RECORD


def a_title_without_end(post: Post) -> tuple[bytes, str]:
    """A text far over any sensible length."""
    return encoded(post | {"title": post["title"] * 500}), "title"


FLAWS: list[Flaw] = [
    without_title,
    words_for_a_number,
    a_negative_time,
    cut_short,
    not_utf8,
    without_source_id,
    a_list_for_a_text,
    a_score_out_of_range,
    a_title_without_end,
]
BROKEN_TEXT: list[Flaw] = [cut_short]  # a JSON array could not be read beyond them
