"""Storing: the same rows in the end, whatever the order of the batches and however often each is stored."""

import json
import random

import pytest
from sqlalchemy import select

from actors.content.batches import Item
from actors.content.checkpoints import begin
from actors.content.storing import Origin, store
from actors.content.tables import posts, rejections

LIMIT = 1 << 20


def items(records) -> list[Item]:
    """Records as a batch carries them; each may come with a line of its own."""
    found = []
    for line, record in records:
        raw = record if isinstance(record, bytes) else json.dumps(record).encode()
        found.append(Item(line, len(raw), raw))
    return found


def put(engine, feed, *records, source="feed.ndjson"):
    with engine.begin() as connection:
        return store(connection, Origin(feed, source), items(records), LIMIT)


@pytest.fixture
def runs(engine):
    """The numbers of some import runs, in order."""
    with engine.begin() as connection:
        return [begin(connection, f"job-{number}", "feed.ndjson", "feed") for number in range(5)]


def rows(engine, table=posts):
    with engine.begin() as connection:
        return sorted(tuple(row) for row in connection.execute(select(table)))


def opened(engine):
    with engine.begin() as connection:
        query = select(rejections.c.line, rejections.c.source_id, rejections.c.field)
        return sorted(tuple(row) for row in connection.execute(query.where(rejections.c.closed_at.is_(None))))


def stored(engine):
    """Everything that must not depend on order or repetition; when a rejection was closed may."""
    with engine.begin() as connection:
        found = [(*row[:-1], row[-1] is not None) for row in connection.execute(select(rejections))]
    return rows(engine), sorted(found, key=str)


def test_a_newer_version_replaces_and_an_older_one_changes_nothing(engine, runs, record):
    assert put(engine, runs[0], (1, record(version=2))).imported == 1
    assert put(engine, runs[0], (2, record(version=1)), (3, record(version=2))).unchanged == 2
    assert put(engine, runs[0], (4, record(version=3))).imported == 1
    assert [row[1] for row in rows(engine)] == [3]


def test_of_two_contents_under_one_version_the_same_one_stays_whichever_came_first(engine, runs, record):
    one, other = record(title="one"), record(title="other")
    put(engine, runs[0], (1, one))
    counts = put(engine, runs[0], (2, other))
    first = rows(engine)
    with engine.begin() as connection:
        connection.execute(posts.delete())
    put(engine, runs[0], (2, other), (1, one))
    assert rows(engine) == first
    assert counts.conflicting == 1


def test_importing_the_same_again_changes_no_row(engine, runs, record):
    batch = [
        (1, record(1)),
        (2, record(2, title=None)),
        (3, b"{"),
        (4, record(4, version=9)),
        (5, record(4, version=8)),
    ]
    put(engine, runs[0], *batch)
    first = stored(engine)
    put(engine, runs[0], *batch)
    assert stored(engine) == first
    counts = put(engine, runs[1], *batch)
    assert (counts.imported, counts.unchanged, counts.rejected) == (0, 3, 2)
    again = stored(engine)
    assert again[0] == first[0]
    feed_id = list(rejections.columns).index(rejections.c.feed_id)
    without_run = [[(*row[:feed_id], *row[feed_id + 1 :]) for row in found] for found in (first[1], again[1])]
    assert without_run[0] == without_run[1]


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_batches_with_any_of_them_repeated_ends_in_the_same_rows(engine, runs, record, seed):
    chance = random.Random(seed)

    def some(line):
        number, version = chance.randint(1, 5), chance.randint(1, 3)
        one = record(number, version)
        return chance.choice(
            [
                one,
                one | {"title": f"other {line}"},
                one | {"title": None},
                one | {"revision": {"version": "two"}},
                one | {"source_id": None},
                b"{" + str(number).encode(),
            ]
        )

    lines = [(line, some(line)) for line in range(1, 41)]
    batches = [lines[at : at + 4] for at in range(0, 40, 4)]
    for feed in runs[:2]:
        for batch in batches:
            put(engine, feed, *batch)
    expected = stored(engine)
    with engine.begin() as connection:
        connection.execute(rejections.delete())
        connection.execute(posts.delete())
    for feed in runs[:2]:
        mixed = chance.sample(batches, k=10) + chance.choices(batches, k=5)
        for batch in mixed:
            put(engine, feed, *batch)
    assert stored(engine) == expected


def test_a_corrected_record_closes_its_rejection_wherever_it_comes_from(engine, runs, record):
    put(engine, runs[0], (7, record(1, version=2, title=None)))
    assert opened(engine) == [(7, "post-1", "title")]
    put(engine, runs[1], (1, record(1, version=1)), source="other.ndjson")
    assert opened(engine) == [(7, "post-1", "title")], "an older version is no correction"
    put(engine, runs[2], (1, record(1, version=2)), source="other.ndjson")
    assert opened(engine) == []


def test_a_record_without_a_version_is_corrected_by_a_later_feed_and_not_by_the_same_one(engine, runs, record):
    broken = record(1) | {"revision": {"version": "two"}}
    put(engine, runs[0], (1, broken), (2, record(1)))
    assert {line for line, *_ in opened(engine)} == {1}
    put(engine, runs[1], (9, record(1)))
    assert opened(engine) == []


def test_a_record_that_nobody_can_name_is_corrected_on_its_line_by_a_later_run(engine, runs, record):
    put(engine, runs[0], (1, b"{"), (2, record(2)))
    put(engine, runs[1], (1, record(1)), source="other.ndjson")
    assert opened(engine) == [(1, "", "")]
    put(engine, runs[2], (1, record(1)), (2, record(2)))
    assert opened(engine) == []


def test_a_record_that_is_broken_again_has_its_new_reasons_only(engine, runs, record):
    put(engine, runs[0], (1, record(1, title=None)), (2, record(2, title=None)))
    put(engine, runs[1], (5, record(1, slug=None)))
    assert opened(engine) == [(2, "post-2", "title"), (5, "post-1", "slug")]


def test_a_closed_rejection_opens_again_when_a_newer_version_is_broken(engine, runs, record):
    put(engine, runs[0], (1, record(1, title=None)))
    put(engine, runs[1], (1, record(1)))
    assert opened(engine) == []
    put(engine, runs[2], (1, record(1, version=2, title=None)))
    assert opened(engine) == [(1, "post-1", "title")]
