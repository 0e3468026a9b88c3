"""A checkpoint says how far a feed has been read, so that a run stopped halfway goes on where it stopped.

    reading ──▶ read ──▶ done       every batch is recorded; every batch is imported
       └──────▶ failed              what was read whole is still imported; `error` says why

It lies in the feed's row, and not with the job, because one job hands on to the next. A message carries only the feed's
number and the batch's. That every batch is imported is known to their group.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from actors.content.batches import Batch, packed
from actors.content.errors import FeedForbidden
from actors.content.rejection import shown
from actors.content.sources import refuse_unfit
from actors.content.splitting import Position
from actors.content.tables import feed_batches, feeds

LONGEST_ERROR = 2000
READING, READ, DONE, FAILED = "reading", "read", "done", "failed"


class Checkpoint(NamedTuple):
    """How far the reading of a feed is.

    Attributes:
      feed: the feed's number.
      source: where it comes from.
      identity: what it was when reading began; empty before.
      state: reading, read, done or failed.
      position: where reading goes on.
      batch: the number of the next batch.
    """

    feed: int
    source: str
    identity: str
    state: str
    position: Position
    batch: int


class Counts(NamedTuple):
    """What became of the records of a batch."""

    imported: int = 0
    unchanged: int = 0
    conflicting: int = 0
    rejected: int = 0


def begin(connection: Connection, job: str, source: str, name: str) -> int:
    """Make a row for the feed of a job, and return its number; a job that is run again finds its own.

    Raises:
      FeedForbidden: the source can't even be stored.
    """
    refuse_unfit(source)
    dialect = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = {"job": job, "source": source, "name": shown(name), "started_at": datetime.now(UTC)}
    connection.execute(dialect(feeds).values(row).on_conflict_do_nothing(index_elements=["job"]))
    return int(connection.execute(select(feeds.c.id).where(feeds.c.job == job)).scalar_one())


def load(engine: Engine, feed: int, source: str) -> Checkpoint:
    """Return the checkpoint of a feed that was begun.

    Raises:
      FeedForbidden: it was begun from another source, or never.
    """
    with engine.begin() as connection:
        row = connection.execute(select(feeds).where(feeds.c.id == feed)).one_or_none()
    if row is None or row.source != source:
        raise FeedForbidden(
            f"reading of feed {feed} can't go on",
            expected=f"a feed that was begun from {source}",
            received="no such feed" if row is None else row.source,
        )
    position = Position(row.next_offset, row.next_line, row.form)
    return Checkpoint(row.id, row.source, row.identity, row.state, position, row.next_batch)


def opened(engine: Engine, feed: int, identity: str) -> None:
    """Note what the feed is, and that it is being read."""
    with engine.begin() as connection:
        connection.execute(
            update(feeds).where(feeds.c.id == feed).values(identity=identity, state=READING, error="", finished_at=None)
        )


def record(connection: Connection, feed: int, batch: Batch) -> int:
    """Keep a batch and move the checkpoint behind it; return how many batches wait now."""
    first, last, after = batch.records[0], batch.records[-1], batch.after
    row = {
        "feed_id": feed,
        "number": batch.number,
        "first_line": first.line,
        "last_line": last.line,
        "first_offset": first.offset,
        "end_offset": after.offset,
        "payload": packed(batch.records),
    }
    moved = {
        "form": after.form,
        "next_offset": after.offset,
        "next_line": after.line,
        "next_batch": batch.number + 1,
    }
    connection.execute(insert(feed_batches).values(row))
    change = update(feeds).where(feeds.c.id == feed).values(moved)
    return int(connection.execute(change.returning(feeds.c.next_batch - feeds.c.batches_done)).scalar_one())


def waiting(engine: Engine, feed: int) -> int:
    """Return how many batches of the feed are recorded and not yet imported."""
    with engine.begin() as connection:
        query = select(feeds.c.next_batch - feeds.c.batches_done).where(feeds.c.id == feed)
        return int(connection.execute(query).scalar_one())


def note_error(engine: Engine, feed: int, error: Exception, *, failed: bool) -> None:
    """Write down why reading stopped, and whether it stopped for good."""
    values = {"error": shown(str(error), LONGEST_ERROR)}
    if failed:
        values |= {"state": FAILED}
    with engine.begin() as connection:
        connection.execute(
            update(feeds).where(feeds.c.id == feed).values(**values, finished_at=datetime.now(UTC) if failed else None)
        )


def finish_reading(connection: Connection, feed: int) -> None:
    """Note that every batch is recorded."""
    connection.execute(update(feeds).where(feeds.c.id == feed, feeds.c.state == READING).values(state=READ, error=""))


def finish(connection: Connection, feed: int) -> bool:
    """Note that every batch is imported; False when it was noted before."""
    change = update(feeds).where(feeds.c.id == feed, feeds.c.state == READ)
    return connection.execute(change.values(state=DONE, finished_at=datetime.now(UTC))).rowcount == 1


def count_batch(connection: Connection, feed: int, number: int, counts: Counts) -> None:
    """Note that a batch is done, and drop its payload."""
    connection.execute(
        update(feed_batches)
        .where(feed_batches.c.feed_id == feed, feed_batches.c.number == number)
        .values(done=True, payload=None)
    )
    added = {name: feeds.c[name] + count for name, count in counts._asdict().items()}
    connection.execute(update(feeds).where(feeds.c.id == feed).values(batches_done=feeds.c.batches_done + 1, **added))
