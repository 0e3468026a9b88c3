"""Compares what the import left behind with what had to be there, down to the single post."""

import json
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from sqlalchemy import Connection, text

from deploy.demo.expectation import ExpectedPost, ExpectedRejection

SHOWN = 3  # examples of what is wrong; the rest is a count
POSTS = text("SELECT source_id, count(*), max(version), max(CAST(published AS integer)) FROM posts GROUP BY source_id")
JOBS = text("SELECT state, count(*) AS jobs FROM dutiful_keys GROUP BY state")
MOST_DEAD = 100  # dead letters to look at
XML = "{http://www.sitemaps.org/schemas/sitemap/0.9}"


class Check(NamedTuple):
    """One thing that must hold, and what was found instead if it doesn't."""

    what: str
    expected: str
    found: str
    holds: bool


class StoredPost(NamedTuple):
    """A post in the database, over all rows that carry its id."""

    rows: int
    version: int
    published: int  # 0 or 1, which equal False and True


def check_posts(connection: Connection, expected: dict[str, ExpectedPost]) -> list[Check]:
    """Every valid post is there exactly once, in the version that wins, and visible only if it may be."""
    stored = {name: StoredPost(*rest) for name, *rest in connection.execute(POSTS)}
    both = expected.keys() & stored.keys()
    return [
        wanted("every valid post is stored", f"{len(expected):,} posts", "missing", expected.keys() - stored.keys()),
        wanted("nothing else is stored", "no other post", "not in the feed", stored.keys() - expected.keys()),
        wanted(
            "each post is stored once",
            "one row a post",
            "more than one row",
            (f"{name} ({stored[name].rows} rows)" for name in both if stored[name].rows != 1),
        ),
        wanted(
            "each post has the version that wins",
            "the highest version in the feed",
            "another version",
            (
                f"{name} (version {stored[name].version}, not {expected[name].version})"
                for name in both
                if stored[name].version != expected[name].version
            ),
        ),
        wanted(
            "posts that wait for a person are hidden",
            f"{sum(post.published for post in expected.values()):,} published",
            "wrongly published or hidden",
            (name for name in both if stored[name].published != expected[name].published),
        ),
    ]


def check_rejections(connection: Connection, expected: Iterable[ExpectedRejection]) -> list[Check]:
    """Every broken record is in rejections, by its line and the field at fault, with a reason; and no other is."""
    query = text("SELECT line, field, expected FROM rejections WHERE closed_at IS NULL")
    found = {(line, field): reason for line, field, reason in connection.execute(query)}
    due = set(expected)
    return [
        wanted(
            "every broken record is rejected by its field",
            f"{len(due):,} rejections",
            "missing",
            (f"line {line}, field {field or '(record)'}" for line, field in sorted(due - found.keys())),
        ),
        wanted(
            "no sound record is rejected",
            "no other rejection",
            "rejected",
            (f"line {line}, field {field or '(record)'}" for line, field in sorted(found.keys() - due)),
        ),
        wanted(
            "every rejection says what was expected",
            "a reason each",
            "without a reason",
            (f"line {line}" for (line, _), reason in sorted(found.items()) if not reason),
        ),
    ]


def check_jobs(connection: Connection) -> list[Check]:
    """No job is open, and nothing waits to be sent."""
    states = {row.state: row.jobs for row in connection.execute(JOBS)}
    outbox = connection.execute(text("SELECT count(*) FROM dutiful_outbox")).scalar_one()
    runs = connection.execute(text("SELECT count(*) FROM feeds")).scalar_one()
    unfinished = {state: count for state, count in states.items() if state not in {"done", "dead"}}
    return [
        Check("every job has ended", "done or dead", described(states), not unfinished),
        Check("nothing waits to be sent", "an empty outbox", f"{outbox} messages", outbox == 0),
        Check("the import that was asked for twice ran once", "1 run", f"{runs} runs", runs == 1),
    ]


def check_queues(depths: dict[str, int]) -> Check:
    """No queue but the dead ones holds a message, neither ready nor handed out."""
    waiting = {name: count for name, count in depths.items() if count and not name.endswith(".XQ")}
    return Check("the queues are empty", "0 messages", described(waiting), bool(depths) and not waiting)


def check_dead_letters(channel: Any, queues: Iterable[str], poisoned: dict[str, str]) -> Check:
    """Exactly the poisoned messages are dead letters, each with its reason."""
    found: dict[str, str] = {}
    for queue in queues:
        method = queue.endswith(".XQ")
        while method and len(found) < MOST_DEAD:
            method, properties, _body = channel.basic_get(queue)
            if method:
                found[properties.message_id] = (properties.headers or {}).get("dutiful-reason", "no reason")
    # Nothing was acknowledged: closing the channel puts every message back where it was.
    channel.close()
    return Check("the dead letters are the poisoned messages", described(poisoned), described(found), found == poisoned)


def check_sitemap(folder: Path, base_url: str, expected: Iterable[ExpectedPost]) -> Check:
    """The sitemap lists exactly the published posts."""
    due = {f"{base_url}/posts/{urllib.parse.quote(post.slug, safe='')}" for post in expected if post.published}
    try:
        listed = sitemap_addresses(folder)
    except (OSError, ET.ParseError) as error:
        return Check(
            "the sitemap lists the published posts", f"{len(due):,} pages", f"no sitemap: {error}", holds=False
        )
    wrong = sorted(due.symmetric_difference(listed))
    twice = len(listed) - len(set(listed))
    found = (
        f"{len(listed):,} pages"
        + (f", {twice} twice" if twice else "")
        + (f"; wrong: {examples(wrong)}" if wrong else "")
    )
    return Check("the sitemap lists the published posts", f"{len(due):,} pages", found, not wrong and not twice)


def sitemap_addresses(folder: Path) -> list[str]:
    """Read the sitemap as a crawler does: the index, then each file it names."""
    addresses: list[str] = []
    for part in ET.parse(folder / "sitemap.xml").iter(f"{XML}loc"):  # noqa: S314  our own files
        name = urllib.parse.urlsplit(part.text or "").path.rpartition("/")[2]
        addresses += [node.text or "" for node in ET.parse(folder / name).iter(f"{XML}loc")]  # noqa: S314
    return addresses


def suppressed(log: str) -> list[str]:
    """Return the ids of the messages that a worker did not run because their job was done, from its log."""
    lines = (json.loads(line) for line in log.splitlines() if '"job_duplicate"' in line)
    return [line["message_id"] for line in lines if line["event"] == "job_duplicate"]


def wanted(what: str, expected: str, fault: str, wrong: Iterable[str]) -> Check:
    """Return a check that holds when the list of what is wrong is empty."""
    faults = sorted(wrong)
    return Check(what, expected, f"{len(faults):,} {fault}: {examples(faults)}" if faults else expected, not faults)


def examples(values: list[str]) -> str:
    """Return the first few values, and how many more there are."""
    more = len(values) - SHOWN
    return (", ".join(values[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")) or "none"


def described(counts: dict[str, Any]) -> str:
    """Return a map as words."""
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items())) or "none"
