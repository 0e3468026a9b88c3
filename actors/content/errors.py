"""The tree of everything that can be wrong with a whole feed.

    PermanentFailure             dead letter at once
    └── FeedRefused              the feed can't be imported as it is
        ├── FeedForbidden        this source may not be read: outside the folder, no permission, 401, 403, other schemes
        ├── FeedMissing          nothing is there
        ├── FeedNotAFile         a directory, a pipe or a device
        ├── FeedEmpty            nothing is in it
        ├── FeedEncodingWrong    not plain UTF-8: compressed, UTF-16, UTF-32
        ├── FeedMalformed        not NDJSON and not a JSON array, or an array that breaks off into something else
        ├── FeedTruncated        the text ends in the middle of a record; the records before it are imported
        └── FeedChanged          it is not the feed any more that was begun
    RetryLater
    └── FeedBusy                 the server said when to come back
    DutifulError                 transient: retried with backoff
    ├── FeedUnreachable          no answer, no answer in time, or the server failed
    ├── FeedCut                  the answer ended before its announced end
    └── FeedStalled              its batches are not being imported, so reading on would only pile them up

What is wrong with one record is no error: it is a rejection, and the feed goes on.
"""

from typing import ClassVar

from workers import PermanentFailure, RetryLater
from workers.errors import DutifulError


class FeedRefused(PermanentFailure):
    """The feed can't be imported as it is; importing is repeatable, so publishing it again harms nothing."""

    safe_to_retry = True
    # Whether the records that were read before the error still count as read.
    keeps_records: ClassVar[bool] = True


class FeedForbidden(FeedRefused):
    """This source may not be read. Nothing was read."""


class FeedMissing(FeedRefused):
    """Nothing is at the given place. Nothing was read."""


class FeedNotAFile(FeedRefused):
    """A directory, a pipe or a device is at the given place. Nothing was read."""


class FeedEmpty(FeedRefused):
    """The feed holds no record. An empty export is more often a fault than a wish, so it is said aloud."""


class FeedEncodingWrong(FeedRefused):
    """The feed is not plain UTF-8. Nothing was imported."""


class FeedMalformed(FeedRefused):
    """Neither NDJSON nor a JSON array, or a broken array. The records before the fault are imported."""


class FeedTruncated(FeedRefused):
    """The text of the feed ends in the middle of a record. The records before the cut are imported."""


class FeedChanged(FeedRefused):
    """The feed was changed while it was read. Publish it again: a replay would look for the old one."""

    keeps_records = False


class FeedBusy(RetryLater):
    """The server answered that it is busy, and when to come back."""


class FeedUnreachable(DutifulError):
    """The source gave no answer, or failed to give one. The runtime tries again."""

    safe_to_retry = True


class FeedCut(DutifulError):
    """The answer ended before its announced end. The next attempt goes on at the last batch."""

    safe_to_retry = True


class FeedStalled(DutifulError):
    """Too many batches of the feed wait to be imported. The next attempt goes on at the last batch."""

    safe_to_retry = True
