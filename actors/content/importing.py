"""Imports posts: one job reads a feed into batches, and a job for each batch stores it."""

from datetime import timedelta
from functools import partial

from sqlalchemy import Connection, select

from actors.content import checkpoints
from actors.content.batches import Batch, unpacked
from actors.content.reading import read_feed
from actors.content.storing import Origin, store
from actors.content.tables import feed_batches, feeds
from actors.settings import site_settings
from actors.sitemap import build
from workers import OpenGroup, PermanentFailure, actor, current_job
from workers.job import Job


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
        store_batch(connection, feed, number, site_settings().max_record_bytes)


@actor(
    actor_name="content.finish_feed",
    queue_name="content",
    key="{feed}",
    time_limit=timedelta(minutes=1),
    owner="content",
    expects="the feed's row says done, and the sitemap has been asked for",
    rollback="none needed: it changes nothing but the feed's row",
)
def finish_feed(feed: int) -> None:
    """Note that a feed is done: it is sent when every batch of it has been imported."""
    with current_job().transaction() as connection:
        if checkpoints.finish(connection, feed):
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
    number = resume if resume is not None else _begun(job, source, feed or name_of(source))
    checkpoint = checkpoints.load(job.engine, number, source)
    finished = read_feed(job.engine, checkpoint, partial(_stage, job), site_settings())
    with job.transaction() as connection:
        if finished:
            checkpoints.finish_reading(connection, number)
            _batches_of(number).close()
        else:
            import_feed.send(source=source, feed=feed, resume=number)


def _begun(job: Job, source: str, name: str) -> int:
    """Return the number of the job's feed; its first attempt begins it."""
    kept = job.checkpoint or {}
    if not kept:
        with job.transaction(checkpoint=kept) as connection:
            kept["feed"] = checkpoints.begin(connection, job.id, source, name)
            _batches_of(kept["feed"]).open(finish_feed.message(feed=kept["feed"]))
    return int(kept["feed"])


def _stage(job: Job, feed: int, batch: Batch) -> int:
    """Keep a batch, the feed's checkpoint behind it, and the batch's message; return how many batches wait now."""
    with job.transaction(checkpoint={"feed": feed, "batches": batch.number + 1}) as connection:
        waiting = checkpoints.record(connection, feed, batch)
        _batches_of(feed).send(import_batch.message(feed=feed, number=batch.number))
    return waiting


def _batches_of(feed: int) -> OpenGroup:
    """The group of a feed's batches: nobody knows how many they are before the feed is read."""
    return OpenGroup(f"content.import_feed {feed}")


def store_batch(connection: Connection, feed: int, number: int, limit: int) -> None:
    """Store a recorded batch; one that is stored already stays as it is."""
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
        return
    counts = store(connection, Origin(feed, batch.source), unpacked(batch.payload), limit)
    checkpoints.count_batch(connection, feed, number, counts)


def name_of(source: str) -> str:
    """Return the last part of a path or URL."""
    return source.partition("?")[0].rstrip("/").rpartition("/")[2] or source
