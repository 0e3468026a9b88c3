"""A source gives the bytes of a feed from any offset on, and says when they are not those of the same feed any more."""

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from actors.content.errors import (
    FeedChanged,
    FeedForbidden,
    FeedMissing,
    FeedNotAFile,
    FeedUnreachable,
)
from actors.settings import SiteSettings

CHUNK = 1 << 18
LONGEST_SOURCE = 500


class Source(AbstractContextManager["Source"], ABC):
    """An opened feed.

    Attributes:
      identity: what tells this content of the feed from an earlier or later one; empty where nobody can say.
      seekable: whether going on in the middle costs nothing.
      whole: whether its end is known to be its end; if not, a cut may be the link's fault.
    """

    identity: str
    seekable: bool
    whole: bool

    @abstractmethod
    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes from the offset that it was opened at, in pieces of bounded size."""

    @abstractmethod
    def verify(self) -> None:
        """Raise FeedChanged when what was read so far is not the feed that was opened."""


def refuse_unfit(source: str) -> None:
    """Raise FeedForbidden unless a source is a path or an http(s) URL that may be stored and shown."""
    if not source.strip() or len(source.encode("utf-8", "replace")) > LONGEST_SOURCE or not source.isprintable():
        raise FeedForbidden(
            "the feed's source can't be used",
            expected=f"a path or a URL of 1 to {LONGEST_SOURCE} bytes, all of them printable",
            received=f"{len(source)} characters",
        )
    if not _is_url(source):
        return
    try:
        parts = urlsplit(source)
        fit = parts.scheme in {"http", "https"} and parts.hostname and parts.username is None
    except ValueError:
        fit = False
    if not fit:
        raise FeedForbidden(
            "the feed's URL can't be used",
            expected="http:// or https://, a host, and no user or password: it is stored and shown",
            received=f"a URL that begins with {source.partition('://')[0][:20]}://",
        )


def _is_url(source: str) -> bool:
    return "://" in source


def open_source(source: str, offset: int, identity: str, site: SiteSettings) -> Source:
    """Open a feed at an offset.

    Parameters:
      source: a path inside the feeds directory, or an http(s) URL.
      offset: where to begin.
      identity: what it was when reading began; empty for the first time.
      site: where feeds may lie.

    Raises:
      FeedRefused: it can't be read, or is not the same feed any more.
      FeedUnreachable, FeedBusy: not now.
    """
    if not _is_url(source):
        return FileSource(source, offset, identity, site.feeds_directory)
    from actors.content.http import HttpSource  # noqa: PLC0415  httpx is loaded only where a feed comes over HTTP

    return HttpSource(source, offset, identity)


def refuse_changed(source: str, recorded: str, found: str) -> None:
    """Raise FeedChanged unless nothing was recorded yet, or the same."""
    if recorded and recorded != found:
        raise FeedChanged(
            f"feed {source} changed while it was read",
            expected=f"the feed that was begun ({recorded})",
            received=found or "nothing to tell it by",
        )


class FileSource(Source):
    """A file in the feeds directory.

    A feed is best replaced by renaming a new file over it: who has the old one open then reads it to its end, unharmed.
    """

    seekable = True
    whole = True

    def __init__(self, source: str, offset: int, identity: str, directory: Path) -> None:
        self._source = source
        self._descriptor = _opened(source, directory)
        try:
            self.identity = self._identity()
            refuse_changed(source, identity, self.identity)
            os.lseek(self._descriptor, offset, os.SEEK_SET)
        except BaseException:
            os.close(self._descriptor)
            raise

    def chunks(self) -> Iterator[bytes]:
        """Yield the rest of the file."""
        while True:
            try:
                data = os.read(self._descriptor, CHUNK)
            except OSError as error:
                raise FeedUnreachable(f"feed {self._source} could not be read on", received=str(error)) from error
            if not data:
                return
            yield data

    def verify(self) -> None:
        """Compare size and time of change with those at the beginning."""
        refuse_changed(self._source, self.identity, self._identity())

    def _identity(self) -> str:
        found = os.fstat(self._descriptor)
        return f"size {found.st_size}, changed {found.st_mtime_ns}, inode {found.st_dev}:{found.st_ino}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _opened(source: str, directory: Path) -> int:
    """Open a regular file inside the directory, wherever links lead."""
    root = directory.resolve()
    try:
        path = (root / source).resolve()
    except (OSError, RuntimeError) as error:  # links that lead in a circle, before Python 3.13
        raise FeedMissing(f"there is no feed {source}", expected=f"a file in {root}", received=str(error)) from error
    if not path.is_relative_to(root):
        raise FeedForbidden(f"feed {source} may not be read", expected=f"a file inside {root}", received=str(path))
    try:
        # Not to hang on a pipe that nobody writes to.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FeedMissing(f"there is no feed {source}", expected=f"a file in {root}", received=str(error)) from error
    except PermissionError as error:
        raise FeedForbidden(f"feed {source} may not be read", expected="permission", received=str(error)) from error
    except OSError as error:
        if error.errno in {errno.ENAMETOOLONG, errno.ELOOP}:  # from Python 3.13 on, resolve() lets circles pass
            raise FeedMissing(
                f"there is no feed {source}", expected=f"a file in {root}", received=str(error)
            ) from error
        if error.errno == errno.ENXIO:
            raise FeedNotAFile(f"feed {source} can't be read", expected="a file", received="a socket") from error
        raise FeedUnreachable(f"feed {source} can't be opened", expected="a file", received=str(error)) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise FeedNotAFile(f"feed {source} can't be read", expected="a file", received=kind)
    return descriptor
