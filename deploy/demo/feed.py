"""Generates a feed of posts, together with what an import of it must leave behind.

Everything follows from the seed. Nothing is kept in memory but the numbers of some earlier posts, so a feed may have
any size. The expectation is the generator's own knowledge of what it wrote: it never asks the importer.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.articles import Articles, Post
from deploy.demo.expectation import ExpectationFile, Expected, ExpectedRejection, expected_post
from deploy.demo.flaws import BROKEN_TEXT, FLAWS, encoded
from deploy.demo.hostile import HOSTILE

REMEMBERED = 500  # posts that may still be repeated or changed
TOO_LATE = 0.25  # share of the changes that bring an older version


@dataclass(frozen=True)
class Shape:
    """What a feed is made of; shares are of the number of posts."""

    posts: int = 20_000
    seed: int = 7
    broken: float = 0.01
    duplicates: float = 0.02
    changed: float = 0.05
    hostile: int = 0
    array: bool = False


class Share:
    """Spreads a number of events over the posts at random, exactly that many, in constant memory."""

    def __init__(self, chance: random.Random, events: float, posts: int) -> None:
        self.chance, self.events, self.posts = chance, round(events), posts

    def falls_here(self) -> bool:
        """Whether an event falls on this post; asked once for each."""
        hit = self.chance.random() * self.posts < self.events
        self.posts -= 1
        self.events -= hit
        return hit


@dataclass
class Written:
    """A post that is in the feed already: the versions it has there, and what the highest of them leaves behind."""

    number: int
    lowest: int
    highest: int
    outcome: Expected


class Feed:
    """One feed; iterating writes it, and tells `expect` each expectation as soon as nothing can change it."""

    def __init__(self, shape: Shape, expect: Callable[[Expected], object]) -> None:
        self.shape, self.expect = shape, expect
        self.articles = Articles(shape.seed)
        self.chance = random.Random(f"{shape.seed}:feed")  # noqa: S311  test data, not a secret
        self.recent: list[Written] = []
        self.line = 0
        self.flaws = [flaw for flaw in FLAWS if not (shape.array and flaw in BROKEN_TEXT)]

    def __iter__(self) -> Iterator[bytes]:
        """Yield the feed in pieces, a record each."""
        if not self.shape.array:
            for record in self.records():
                yield record + b"\n"
            return
        separator = b"[\n"
        for record in self.records():
            yield separator + record
            separator = b",\n"
        yield b"\n]\n" if separator == b",\n" else b"[]\n"

    def records(self) -> Iterator[bytes]:
        """Yield every record, one line of JSON each, without the line's end."""
        shape = self.shape
        broken, duplicates, changed = (
            Share(self.chance, share * shape.posts, shape.posts)
            for share in (shape.broken, shape.duplicates, shape.changed)
        )
        repeats = changes = flaws = threats = 0
        for number in range(shape.posts):
            if broken.falls_here():
                yield self.broken_record(number, flaws)
                flaws += 1
            else:
                yield self.new_record(number)
            repeats += duplicates.falls_here()
            changes += changed.falls_here()
            if repeats and self.recent:
                repeats -= 1
                yield self.repeated_record()
            if changes and self.recent:
                changes -= 1
                yield self.changed_record()
            while threats < shape.hostile * (number + 1) // shape.posts:
                yield self.hostile_record(threats)
                threats += 1
        for earlier in self.recent:
            self.expect(earlier.outcome)

    def new_record(self, number: int) -> bytes:
        """Return a valid post; later records may repeat or change it until its place is needed."""
        version = 1 + number % 3
        post = self.articles.post(number, version)
        written = Written(number, version, version, expected_post(post))
        if len(self.recent) < REMEMBERED:
            self.recent.append(written)
        else:
            place = self.chance.randrange(REMEMBERED)
            self.expect(self.recent[place].outcome)
            self.recent[place] = written
        return self.written(post)

    def repeated_record(self) -> bytes:
        """Return an earlier record again, to the byte."""
        earlier = self.chance.choice(self.recent)
        return self.written(self.articles.post(earlier.number, earlier.highest))

    def changed_record(self) -> bytes:
        """Return an earlier post in another version: mostly a newer one, sometimes one that comes too late."""
        earlier = self.chance.choice(self.recent)
        if earlier.lowest > 1 and self.chance.random() < TOO_LATE:
            earlier.lowest -= 1
            return self.written(self.articles.post(earlier.number, earlier.lowest))
        earlier.highest += 1
        post = self.articles.post(earlier.number, earlier.highest)
        earlier.outcome = expected_post(post)
        return self.written(post)

    def broken_record(self, number: int, flaw: int) -> bytes:
        """Return a post with the next kind of flaw; each kind takes its turn."""
        record, field = self.flaws[flaw % len(self.flaws)](self.articles.post(number))
        self.line += 1
        self.expect(ExpectedRejection(self.line, field))
        return record

    def hostile_record(self, threat: int) -> bytes:
        """Return the next hostile record."""
        number = self.shape.posts + threat
        record, outcome = HOSTILE[threat % len(HOSTILE)](self.articles.post(number))
        self.line += 1
        if isinstance(outcome, str):
            self.expect(ExpectedRejection(self.line, outcome))
        else:
            self.expect(expected_post(outcome))
        return record

    def written(self, post: Post) -> bytes:
        """Count a valid post's line and return it."""
        self.line += 1
        return encoded(post)


def first_sound_post(shape: Shape) -> str:
    """Return the source_id of the first post of the feed that is not broken."""
    feed = Feed(shape, lambda _: None)
    records = feed.records()
    while not feed.recent:
        next(records)
    return str(feed.articles.post(feed.recent[0].number)["source_id"])


def write_feed(shape: Shape, feed: Path, expectation: Path) -> dict[str, int]:
    """Write the feed and its expectation; return the counts."""
    started = told = time.monotonic()
    size = 0
    with feed.open("wb") as file, ExpectationFile(expectation) as expected:
        generator = Feed(shape, expected.add)
        for piece in generator:
            size += file.write(piece)
            if time.monotonic() - told > 1:
                told = time.monotonic()
                sys.stderr.write(f"{generator.line:,} records, {size:,} bytes, {told - started:.0f} s\n")
    return {"records": generator.line, "bytes": size, "posts": expected.posts, "rejections": expected.rejections}


def main() -> None:
    """Read the command line and write one feed."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo.feed", description=__doc__.splitlines()[0])
    parser.add_argument("--posts", type=int, default=Shape.posts, help="how many posts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=Shape.seed, help="the same seed gives the same bytes")
    parser.add_argument("--broken", type=float, default=Shape.broken, help="share of posts that are broken")
    parser.add_argument("--duplicates", type=float, default=Shape.duplicates, help="share that comes twice")
    parser.add_argument("--changed", type=float, default=Shape.changed, help="share that comes in another version")
    parser.add_argument("--hostile", type=int, default=Shape.hostile, help="records that mean harm: %(default)s")
    parser.add_argument("--format", choices=["ndjson", "array"], default="ndjson")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="FILE.expected.ndjson goes beside it")
    given = parser.parse_args()
    for name in ("broken", "duplicates", "changed"):
        if not 0 <= getattr(given, name) <= 1:
            parser.error(f"--{name} is a share, from 0 to 1; received {getattr(given, name)}")
    shape = Shape(
        given.posts, given.seed, given.broken, given.duplicates, given.changed, given.hostile, given.format == "array"
    )
    counts = write_feed(shape, given.out, given.out.with_name(given.out.name + ".expected.ndjson"))
    sys.stdout.write(", ".join(f"{count:,} {name}" for name, count in counts.items()) + "\n")


if __name__ == "__main__":
    main()
