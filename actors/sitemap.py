"""Writes the sitemap of the published posts.

A reader never sees half a sitemap. Every file is first written whole under a temporary name and synced to disk. The
files are then renamed into place, the index last, and only then the files it no longer names are removed. So a build
that is killed at any moment leaves an index that names whole files only, and the next build mends the rest. One build
runs at a time, under a lock on the folder. The bytes depend on the posts alone: building twice changes nothing.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape

from sqlalchemy import Connection, func, select

from actors.content.tables import posts
from actors.settings import site_settings
from workers import PermanentFailure, RetryLater, actor, current_job

INDEX = "sitemap.xml"
PART = re.compile(r"sitemap-([1-9][0-9]*)\.xml")
TEMPORARY = ".new"

URLSET = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
URLSET_END = "</urlset>\n"
SITEMAPINDEX = URLSET.replace("<urlset ", "<sitemapindex ")
SITEMAPINDEX_END = "</sitemapindex>\n"


class Page(NamedTuple):
    """A post as the sitemap sees it."""

    slug: str
    last_modified: datetime


@dataclass(frozen=True)
class Limits:
    """What one file may hold; the defaults are the protocol's (sitemaps.org)."""

    urls: int = 50_000
    size: int = 50 * 1024 * 1024
    files: int = 50_000


@actor(
    actor_name="sitemap.build",
    queue_name="site",
    time_limit=timedelta(minutes=10),
    owner="content",
    expects="sitemap.xml and the files it names list exactly the published posts",
    rollback="none needed: the files are a function of the posts, so run it again",
)
def build(reason: str = "") -> None:  # noqa: ARG001  the reason is for whoever reads the message or the log
    """Write the sitemap of the posts that are published now."""
    site = site_settings()
    # On SQLite a reader would otherwise hold up every writer for as long as it reads.
    with current_job().snapshot() as connection:
        write_sitemap(published_pages(connection), site.public_directory, str(site.base_url))


def published_pages(connection: Connection) -> Iterator[Page]:
    """Yield the pages by slug, a thousand at a time, so that any number fits in memory.

    Two posts with one slug are one page, as new as the newer of them.
    """
    newest = func.max(posts.c.last_modified)
    query = select(posts.c.slug, newest).where(posts.c.published).group_by(posts.c.slug).order_by(posts.c.slug)
    for slug, last_modified in connection.execution_options(yield_per=1000).execute(query):
        yield Page(slug, last_modified)


def write_sitemap(pages: Iterable[Page], folder: Path, base_url: str, limits: Limits | None = None) -> int:
    """Replace the sitemap in the folder by one of these pages; return how many files the index names."""
    folder.mkdir(parents=True, exist_ok=True)
    site = base_url.rstrip("/")
    with locked(folder):
        parts = groupby(numbered(pages, site, limits or Limits()), key=itemgetter(0))
        newest = [write_part(folder, number, (entry for _, entry in part)) for number, part in parts]
        if not newest:
            newest = [write_part(folder, 1, [])]
        write_index(folder, site, newest)
        names = [f"sitemap-{number}.xml" for number in range(1, len(newest) + 1)]
        for name in (*names, INDEX):
            (folder / (name + TEMPORARY)).replace(folder / name)
        sync_folder(folder)
        remove_beyond(folder, len(newest))
    return len(newest)


class Entry(NamedTuple):
    """A page as its file holds it: ASCII only, so its length is its size in bytes."""

    text: str
    last_modified: str


def numbered(pages: Iterable[Page], site: str, limits: Limits) -> Iterator[tuple[int, Entry]]:
    """Give every page's entry the number of its file; a file is full when the next entry would break a limit."""
    frame = len(URLSET) + len(URLSET_END)
    number, urls, size = 1, 0, frame
    for page in pages:
        entry = entry_of(page, site)
        if urls == limits.urls or (urls and size + len(entry.text) > limits.size):
            number, urls, size = number + 1, 0, frame
        if number > limits.files:
            raise PermanentFailure(
                "the site has more posts than one sitemap index can name",
                expected=f"at most {limits.files:,} files of {limits.urls:,} pages",
                received=f"one page more: {page.slug!r}",
            )
        urls, size = urls + 1, size + len(entry.text)
        yield number, entry


def entry_of(page: Page, site: str) -> Entry:
    """Return the <url> element of a page."""
    address = escape(f"{site}/posts/{quote(page.slug, safe='')}")
    last_modified = w3c_date(page.last_modified)
    return Entry(f"<url><loc>{address}</loc><lastmod>{last_modified}</lastmod></url>\n", last_modified)


def w3c_date(moment: datetime) -> str:
    """Return the moment in UTC, to the second; SQLite hands back times without a zone, and they are UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat(timespec="seconds").replace("+00:00", "Z")


def write_part(folder: Path, number: int, entries: Iterable[Entry]) -> str:
    """Write one file of pages under its temporary name; return the newest date in it."""
    newest = ""

    def lines() -> Iterator[str]:
        nonlocal newest
        for text, last_modified in entries:
            newest = max(newest, last_modified)
            yield text

    write_temporary(folder / f"sitemap-{number}.xml", URLSET, lines(), URLSET_END)
    return newest


def write_index(folder: Path, site: str, newest: list[str]) -> None:
    """Write the index under its temporary name."""
    lines = (
        f"<sitemap><loc>{escape(site)}/sitemap-{number}.xml</loc>"
        + (f"<lastmod>{date}</lastmod>" if date else "")
        + "</sitemap>\n"
        for number, date in enumerate(newest, start=1)
    )
    write_temporary(folder / INDEX, SITEMAPINDEX, lines, SITEMAPINDEX_END)


def write_temporary(target: Path, start: str, lines: Iterable[str], end: str) -> None:
    """Write a whole file beside its target, and sync it: a rename must never show an empty file after a power cut."""
    with target.with_name(target.name + TEMPORARY).open("w", encoding="ascii", newline="\n") as file:
        file.write(start)
        file.writelines(lines)
        file.write(end)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one build; the lock goes with its process, however that ends."""
    with (folder / ".sitemap.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            # It may have read the posts before the change that asked for this build, so this one must still run.
            raise RetryLater("another sitemap build is running in this folder", delay=timedelta(seconds=5)) from error
        yield


def remove_beyond(folder: Path, count: int) -> None:
    """Remove the numbered files above the count, and what a killed build left under temporary names."""
    for path in folder.glob("sitemap*.xml*"):
        part = PART.fullmatch(path.name.removesuffix(TEMPORARY))
        if path.name.endswith(TEMPORARY) or (part and int(part[1]) > count):
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Make the renames last over a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
