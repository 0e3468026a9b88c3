"""Makes records that mean harm, each with what must become of it: the post to store, or the field to reject it by."""

import json
from collections.abc import Callable

from deploy.demo.articles import Post
from deploy.demo.flaws import RECORD, encoded

Threat = Callable[[Post], tuple[bytes, Post | str]]

TEN_MEGABYTES = 10_000_000
DEEP = 20_000
FLAGGED = {"needs_human_review": True}


def enormous_body(post: Post) -> tuple[bytes, Post | str]:
    """Ten megabytes of text in one record."""
    line = "All work and no play makes a dull article. "
    return encoded(post | {"body": line * (TEN_MEGABYTES // len(line))}), RECORD


def deep_nesting(post: Post) -> tuple[bytes, Post | str]:
    """Brackets enough to overflow the stack of a recursive reader."""
    deep = b"[" * DEEP + b"]" * DEEP
    return encoded(post | {"payload": "@"}).replace(b'"@"', deep), RECORD


def nul_in_body(post: Post) -> tuple[bytes, Post | str]:
    """A character that PostgreSQL cannot store."""
    return encoded(post | {"body": "before\0after"}), "body"


def lone_surrogate(post: Post) -> tuple[bytes, Post | str]:
    """Half a character, which has no UTF-8; JSON can write it only as an escape."""
    return json.dumps(post | {"title": "Half a \ud83d rocket"}).encode(), "title"


def markup_in_title(post: Post) -> tuple[bytes, Post | str]:
    """A script where a title should be."""
    harmful = post | {"title": "<script>alert(1)</script><b onclick=steal()>Title</b> & more"}
    return encoded(harmful), harmful


def markup_in_meta(post: Post) -> tuple[bytes, Post | str]:
    """Scripts in every place that is rendered as a list."""
    script = '"><img src=x onerror=alert(1)>'
    harmful = post | {"payload": {script: [script, {script: script}]}, "notes": [script], "checklist": [script]}
    return encoded(harmful), harmful


def number_beyond_the_database(post: Post) -> tuple[bytes, Post | str]:
    """An integer that no column holds."""
    return encoded(post | {"view_count": 10**40}), "view_count"


def not_a_number(post: Post) -> tuple[bytes, Post | str]:
    """NaN, which Python reads although it is no JSON."""
    return encoded(post | {"score": post["score"] | {"quality": float("nan")}}), "score.quality"


def path_for_a_slug(post: Post) -> tuple[bytes, Post | str]:
    """A slug that leads out of its folder."""
    return encoded(post | {"slug": "../../etc/passwd"}), "slug"


def flag_in_disguise(post: Post) -> tuple[bytes, Post | str]:
    """A request for review in a list and in other letters, on a post that calls itself published."""
    revision = post["revision"] | {"status": "published"}
    return encoded(post | {"flags": ["Needs-Human-Review"], "revision": revision}), post | {"flags": FLAGGED}


def text_that_turns_around(post: Post) -> tuple[bytes, Post | str]:
    """Direction marks and zero-width characters, which are text and stay."""
    harmful = post | {"title": "gpj.\u202eexe\u202c \u200bzero\u200b width"}
    return encoded(harmful), harmful


HOSTILE: list[Threat] = [
    text_that_turns_around,
    enormous_body,
    deep_nesting,
    nul_in_body,
    lone_surrogate,
    markup_in_title,
    markup_in_meta,
    number_beyond_the_database,
    not_a_number,
    path_for_a_slug,
    flag_in_disguise,
]
