"""Stores what a batch holds: posts, rejections and the end of rejections, in one transaction.

The order in which batches are stored, and how often, makes no difference to what is there in the end:

- Of two versions of a post the higher one stays. Of two contents under one version always the same one stays (the
  greater digest), whichever came first; the feed counts it as conflicting.
- A rejection whose record states its version is open while that post is missing or older than that.
- Any other rejection is open until a later feed brings its post, or, where nobody knows whose it is, until a later run
  of the same source has a sound record on the same line.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from actors.content.batches import Item
from actors.content.checkpoints import Counts
from actors.content.parsing import Refused, parse, stated_id, stated_version
from actors.content.post import Post
from actors.content.rejection import Rejection
from actors.content.tables import posts, rejections

_CONTENT = [column.name for column in posts.columns if not column.primary_key]
_REASON = ["version", "feed_id", "expected", "received", "safe_to_retry", "closed_at"]
_REJECTIONS_LOCK = 7_204_915_338_016_402  # any number, as long as every release has the same


class Origin(NamedTuple):
    """Where records come from: the feed's number and its source."""

    feed: int
    source: str


class Sound(NamedTuple):
    """A record that can be stored."""

    line: int
    row: dict[str, Any]


class Broken(NamedTuple):
    """A record that can't, and all that is wrong with it."""

    line: int
    source_id: str
    version: int | None
    why: list[Rejection]


def judge(item: Item, limit: int) -> Sound | Broken:
    """Return what a record is: never an error, whatever its bytes are."""
    record = parse(item.raw, item.size, limit)
    if isinstance(record, Refused):
        return Broken(item.line, record.source_id, record.version, [record.why])
    post = Post.read(record)
    if isinstance(post, Post):
        return Sound(item.line, post.row())
    return Broken(item.line, stated_id(record), stated_version(record), post)


def store(connection: Connection, origin: Origin, items: Iterable[Item], limit: int) -> Counts:
    """Store the records of a batch and say what became of them."""
    judged = [judge(item, limit) for item in items]
    sound = [one for one in judged if isinstance(one, Sound)]
    broken = [one for one in judged if isinstance(one, Broken)]
    counts = _store_posts(connection, [one.row for one in sound])
    if connection.dialect.name == "postgresql":
        # From here to the commit one batch at a time: closing must see the posts, and the rejections, of all others.
        connection.execute(select(func.pg_advisory_xact_lock(_REJECTIONS_LOCK)))
    _store_rejections(connection, origin, broken)
    _close_rejections(connection, origin, sound, broken)
    return counts._replace(rejected=len(broken))


def _store_posts(connection: Connection, rows: list[dict[str, Any]]) -> Counts:
    """Write what is newer than the posts that are there, by source_id: so two batches never wait for each other."""
    ids = sorted({row["source_id"] for row in rows})
    query = select(posts.c.source_id, posts.c.version, posts.c.digest).where(posts.c.source_id.in_(ids))
    best = {source_id: (version, digest) for source_id, version, digest in connection.execute(query)}
    news: dict[str, dict[str, Any]] = {}
    counts = Counter[str]()
    for row in rows:
        rank, there = (row["version"], row["digest"]), best.get(row["source_id"], (-1, ""))
        counts[_outcome(rank, there)] += 1
        if rank > there:
            best[row["source_id"]], news[row["source_id"]] = rank, row
    if news:
        _upsert(connection, [news[source_id] for source_id in sorted(news)])
    return Counts(**counts)


def _outcome(rank: tuple[int, str], there: tuple[int, str]) -> str:
    if rank[0] == there[0] and rank != there:
        return "conflicting"
    return "imported" if rank > there else "unchanged"


def _upsert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    statement = _insert(connection, posts)
    new = statement.excluded
    # Asked again here: another batch may have stored a newer one since.
    newer = or_(new.version > posts.c.version, and_(new.version == posts.c.version, new.digest > posts.c.digest))
    content = {name: new[name] for name in _CONTENT}
    # A list of rows beside the statement, not in it: then it is compiled once, and not once a batch.
    connection.execute(statement.on_conflict_do_update(index_elements=["source_id"], set_=content, where=newer), rows)


def _store_rejections(connection: Connection, origin: Origin, broken: list[Broken]) -> None:
    """Write the reasons down, in the place of those that an earlier run of the same source had for the same records."""
    if not broken:
        return
    known = {one.source_id for one in broken if one.source_id}
    lines = [one.line for one in broken if not one.source_id]
    connection.execute(
        delete(rejections).where(
            rejections.c.source == origin.source,
            rejections.c.feed_id < origin.feed,
            or_(
                rejections.c.source_id.in_(sorted(known)),
                and_(rejections.c.source_id == "", rejections.c.line.in_(lines)),
            ),
        )
    )
    rows = [
        {
            "source": origin.source,
            "line": one.line,
            "source_id": one.source_id,
            "version": one.version,
            "feed_id": origin.feed,
            **why._asdict(),
            "closed_at": None,
        }
        for one in broken
        for why in {why.field: why for why in one.why}.values()
    ]
    statement = _insert(connection, rejections)
    new = statement.excluded
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["source", "line", "source_id", "field"],
            set_={name: new[name] for name in _REASON},
            where=new.feed_id > rejections.c.feed_id,
        ),
        rows,
    )


def _close_rejections(connection: Connection, origin: Origin, sound: list[Sound], broken: list[Broken]) -> None:
    """Close what is settled, by the rules above."""
    brought = {one.row["source_id"] for one in sound}
    named = brought | {one.source_id for one in broken if one.source_id}
    arrived = exists().where(posts.c.source_id == rejections.c.source_id, posts.c.version >= rejections.c.version)
    settled: list[ColumnElement[bool]] = [
        and_(rejections.c.source_id.in_(sorted(named)), rejections.c.version.is_not(None), arrived),
        and_(
            rejections.c.source_id.in_(sorted(brought)),
            rejections.c.version.is_(None),
            rejections.c.feed_id < origin.feed,
        ),
        and_(
            rejections.c.source_id == "",
            rejections.c.source == origin.source,
            rejections.c.feed_id < origin.feed,
            rejections.c.line.in_([one.line for one in sound]),
        ),
    ]
    connection.execute(
        update(rejections).where(rejections.c.closed_at.is_(None), or_(*settled)).values(closed_at=datetime.now(UTC))
    )


def _insert(connection: Connection, table: Any) -> postgresql.Insert | sqlite.Insert:
    """Both databases know ON CONFLICT, each through an insert of its own."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
