"""Imports posts: one job reads a feed into batches, and a job for each batch stores it."""

from datetime import timedelta

from sqlalchemy import Connection, select

from actors.content import checkpoints
from actors.content.batches import unpacked
from actors.content.reading import read_feed
from actors.content.storing import Origin, store
from actors.content.tables import feed_batches, feeds
from actors.settings import site_settings
from actors.sitemap import build
from workers import PermanentFailure, actor, current_job


@actor(
    actor_name="content.import_batch",
    queue_name="content",
    key="{feed}:{number}",
    time_limit=timedelta(minutes=2),
    max_retries=8,
    owner="content",
    expects="the batch's posts are stored, or a newer version of each; what is wrong with the others is in rejections",
    rollback="none needed: send the right version of a post with a higher revision.version",
)
def import_batch(feed: int, number: int) -> None:
    """Store one batch of a feed that is being imported."""
    with current_job().transaction() as connection:
        if store_batch(connection, feed, number, site_settings().max_record_bytes):
            build.send(reason=f"feed {feed}")


@actor(
    actor_name="content.import_feed",
    queue_name="content",
    time_limit=timedelta(minutes=10),
    max_retries=12,
    owner="content",
    expects="every record of the feed is in a batch, and the feed's row says read or done",
    rollback="none needed: importing a feed again changes nothing",
)
def import_feed(source: str, feed: str | None = None, resume: int | None = None) -> None:
    """Import a feed.

    Parameters:
      source: a path inside the feeds directory, or an http(s) URL.
      feed: a name for people; default: the last part of the source.
      resume: the number of a feed whose reading goes on here. Only this actor says it, to itself.
    """
    job = current_job()
    if resume is None:
        checkpoint = checkpoints.begin(job.engine, job.id, source, feed or name_of(source))
    else:
        checkpoint = checkpoints.load(job.engine, resume, source)
    finished = read_feed(job.engine, checkpoint, _publish, site_settings())
    with job.transaction() as connection:
        if not finished:
            import_feed.send(source=source, feed=feed, resume=checkpoint.feed)
        elif checkpoints.finish_reading(connection, checkpoint.feed):
            build.send(reason=f"feed {checkpoint.feed}")


def _publish(feed: int, number: int) -> None:
    import_batch.send(feed=feed, number=number)


def store_batch(connection: Connection, feed: int, number: int, limit: int) -> bool:
    """Store a recorded batch. True: with it the whole feed is done."""
    query = (
        select(feed_batches.c.payload, feed_batches.c.done, feeds.c.source)
        .join(feeds)
        .where(feed_batches.c.feed_id == feed, feed_batches.c.number == number)
        .with_for_update(of=feed_batches)
    )
    batch = connection.execute(query).one_or_none()
    if batch is None:
        raise PermanentFailure(
            f"batch {number} of feed {feed} can't be imported", expected="a recorded batch", received="no such batch"
        )
    if batch.done:
        return False
    counts = store(connection, Origin(feed, batch.source), unpacked(batch.payload), limit)
    return checkpoints.count_batch(connection, feed, number, counts)


def name_of(source: str) -> str:
    """Return the last part of a path or URL."""
    return source.partition("?")[0].rstrip("/").rpartition("/")[2] or source
