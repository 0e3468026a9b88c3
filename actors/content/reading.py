"""Reads a feed into batches, from checkpoint to checkpoint."""

import time
from collections.abc import Callable, Iterator

from sqlalchemy import Engine

from actors.content import checkpoints
from actors.content.batches import Batch, batched
from actors.content.checkpoints import Checkpoint
from actors.content.errors import FeedCut, FeedRefused, FeedStalled, FeedTruncated
from actors.content.sources import Source, open_source
from actors.content.splitting import Record, split
from actors.settings import SiteSettings
from workers.errors import DutifulError

# What can't go on in the middle reads for longer, since the next job would have to read all of it again.
UNSEEKABLE_PATIENCE = 5
STALLED_SECONDS = 10.0
_POLL_SECONDS = 0.2

Stage = Callable[[int, Batch], int]


def read_feed(engine: Engine, checkpoint: Checkpoint, stage: Stage, site: SiteSettings) -> bool:
    """Read on from a checkpoint until the feed ends (True), or until it is another job's turn (False).

    Parameters:
      engine: the store's.
      checkpoint: where to begin.
      stage: keeps a batch of this feed, the checkpoint behind it and its message in one commit; says how many batches
        wait then.
      site: limits.

    Raises:
      FeedRefused: the feed can't be imported, or only up to here; its row says failed, and why.
      FeedUnreachable, FeedCut, FeedBusy, FeedStalled: not now; what was read is kept.
    """
    if checkpoint.state in {checkpoints.READ, checkpoints.DONE}:
        return True
    try:
        return _Reading(engine, checkpoint, stage, site).run()
    except DutifulError as error:
        checkpoints.note_error(engine, checkpoint.feed, error, failed=isinstance(error, FeedRefused))
        raise


class _Reading:
    """One job's turn at a feed."""

    def __init__(self, engine: Engine, checkpoint: Checkpoint, stage: Stage, site: SiteSettings) -> None:
        self._engine = engine
        self._checkpoint = checkpoint
        self._stage = stage
        self._site = site
        self._number = checkpoint.batch

    def run(self) -> bool:
        feed = self._checkpoint.feed
        began = time.monotonic()
        offset, identity = self._checkpoint.position.offset, self._checkpoint.identity
        with open_source(self._checkpoint.source, offset, identity, self._site) as source:
            checkpoints.opened(self._engine, feed, source.identity)
            patience = self._site.reading_seconds * (1 if source.seekable else UNSEEKABLE_PATIENCE)
            self._refuse_to_pile_up()
            for group in batched(self._records(source), self._site.batch_records, self._site.batch_bytes):
                source.verify()
                waiting = self._keep(group)
                left = began + patience - time.monotonic()
                full = waiting >= self._site.max_waiting_batches
                if left <= 0 or (full and (source.seekable or not self._room(left))):
                    return False
            source.verify()
        return True

    def _records(self, source: Source) -> Iterator[Record]:
        """Yield the records; a feed that ends in the middle is cut by the link if its end is not known for certain."""
        try:
            yield from split(source.chunks(), self._checkpoint.position, self._site.max_record_bytes)
        except FeedTruncated as error:
            # A file that is still being written looks cut, but is not finished yet.
            source.verify()
            if not source.whole:
                raise FeedCut(error.what, expected=error.expected, received=error.received) from error
            raise

    def _keep(self, group: list[Record]) -> int:
        waiting = self._stage(self._checkpoint.feed, Batch(self._number, group))
        self._number += 1
        return waiting

    def _room(self, seconds: float) -> bool:
        """Wait until fewer batches wait than may; False when that takes too long."""
        deadline = time.monotonic() + seconds
        while checkpoints.waiting(self._engine, self._checkpoint.feed) >= self._site.max_waiting_batches:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _refuse_to_pile_up(self) -> None:
        if not self._room(STALLED_SECONDS):
            raise FeedStalled(
                f"feed {self._checkpoint.feed} can't be read on: its batches are not being imported",
                expected=f"fewer than {self._site.max_waiting_batches} batches that wait",
                received=f"{checkpoints.waiting(self._engine, self._checkpoint.feed)}; look at their dead letters",
            )
