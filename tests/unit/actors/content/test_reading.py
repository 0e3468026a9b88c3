"""Reading: from checkpoint to checkpoint, in whole batches, with an error of its own for everything that goes wrong."""

import json
import os
import socket

import pytest
from sqlalchemy import select

from actors.content import reading
from actors.content.batches import batched, packed, unpacked
from actors.content.checkpoints import begin, finish, finish_reading, load
from actors.content.checkpoints import record as record_batch
from actors.content.errors import (
    FeedChanged,
    FeedEmpty,
    FeedEncodingWrong,
    FeedForbidden,
    FeedMalformed,
    FeedMissing,
    FeedNotAFile,
    FeedStalled,
    FeedTruncated,
)
from actors.content.importing import store_batch
from actors.content.reading import read_feed
from actors.content.splitting import Position, Record
from actors.content.tables import feed_batches, feeds, posts, rejections
from workers.errors import PermanentFailure

LIMIT = 1 << 20


def begun(engine, job, source, name):
    with engine.begin() as connection:
        feed = begin(connection, job, source, name)
    return load(engine, feed, source)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture
def feed_file(site, record):
    """Writes a feed of so many posts; returns its name."""

    def write(count: int, *, as_array: bool = False, tail: str = "") -> str:
        records = [json.dumps(record(number)) for number in range(1, count + 1)]
        text = "[" + ",\n".join(records) + "]" if as_array else "".join(line + "\n" for line in records)
        (site.feeds_directory / "feed.json").write_text(text + tail)
        return "feed.json"

    return write


@pytest.fixture
def read(engine, site):
    """Reads a feed as the job of this id does; says whether it is finished. What it staged is in `read.sent`."""

    def run(source, *, job="job-1", killed_before=None, settings=site):
        def stage(feed, batch):
            if len(run.sent) == killed_before:
                raise Killed
            run.sent.append((feed, batch.number))
            return staged(engine, feed, batch)

        return read_feed(engine, begun(engine, job, source, "feed"), stage, settings)

    run.sent = []
    return run


def staged(engine, feed, batch):
    with engine.begin() as connection:
        return record_batch(connection, feed, batch)


def row(engine, table=feeds):
    with engine.begin() as connection:
        return connection.execute(select(table).order_by(table.primary_key.columns[0].desc())).first()


def imported(engine, feed=1):
    """Store every recorded batch; return the source_ids that are there then."""
    with engine.begin() as connection:
        for number in connection.execute(select(feed_batches.c.number)).scalars().all():
            store_batch(connection, feed, number, LIMIT)
        return sorted(connection.execute(select(posts.c.source_id)).scalars())


@pytest.mark.parametrize("as_array", [True, False])
def test_a_feed_becomes_batches_in_order(engine, read, feed_file, as_array):
    assert read(feed_file(8, as_array=as_array)) is True
    assert read.sent == [(1, 0), (1, 1), (1, 2)]
    with engine.begin() as connection:
        lines = connection.execute(select(feed_batches.c.first_line, feed_batches.c.last_line)).all()
    assert [tuple(found) for found in lines] == [(1, 3), (4, 6), (7, 8)]
    assert imported(engine) == [f"post-{number}" for number in range(1, 9)]


@pytest.mark.parametrize("as_array", [True, False])
@pytest.mark.parametrize("killed_before", range(4))
def test_a_run_that_was_killed_goes_on_where_it_stopped(engine, read, feed_file, killed_before, as_array):
    source = feed_file(10, as_array=as_array)
    with pytest.raises(Killed):
        read(source, killed_before=killed_before)
    assert read(source) is True
    assert read.sent == [(1, 0), (1, 1), (1, 2), (1, 3)]
    assert len(imported(engine)) == 10


def test_a_run_that_has_read_everything_reads_nothing_again(engine, read, feed_file):
    source = feed_file(3)
    read(source)
    with engine.begin() as connection:
        finish_reading(connection, 1)
    assert read(source) is True
    assert read.sent == [(1, 0)]


def test_a_feed_is_done_once_and_not_before_it_is_read(engine, read, feed_file):
    read(feed_file(6))
    with engine.begin() as connection:
        for number in (0, 1, 1):
            store_batch(connection, 1, number, LIMIT)
        assert finish(connection, 1) is False
        finish_reading(connection, 1)
        assert [finish(connection, 1) for _ in range(2)] == [True, False]
    found = row(engine)
    assert (found.state, found.imported, found.batches_done) == ("done", 6, 2), "a batch that is done does nothing"
    assert row(engine, feed_batches).payload is None


def test_reading_hands_on_when_too_many_batches_wait(engine, read, feed_file, site):
    narrow = site.model_copy(update={"max_waiting_batches": 2})
    source = feed_file(8)
    assert read(source, settings=narrow) is False
    assert read.sent == [(1, 0), (1, 1)]
    imported(engine)
    assert read(source, settings=narrow) is True


def test_a_feed_whose_batches_are_not_imported_is_not_read_on(engine, read, feed_file, site, monkeypatch):
    monkeypatch.setattr(reading, "STALLED_SECONDS", 0)
    narrow = site.model_copy(update={"max_waiting_batches": 2})
    source = feed_file(8)
    read(source, settings=narrow)
    with pytest.raises(FeedStalled, match="dead letters"):
        read(source, settings=narrow)
    assert row(engine).state == "reading"
    assert "not being imported" in row(engine).error


def test_reading_hands_on_when_its_time_is_over(engine, read, feed_file, site):
    brief = site.model_copy(update={"reading_seconds": 0})
    source = feed_file(8)
    assert [read(source, settings=brief) for _ in range(4)] == [False, False, False, True]
    assert read.sent == [(1, 0), (1, 1), (1, 2)]
    assert len(imported(engine)) == 8


def test_a_truncated_feed_imports_the_records_before_the_cut_and_says_so(engine, read, feed_file):
    with pytest.raises(FeedTruncated):
        read(feed_file(4, tail='{"source_id": "post-5", "tit'))
    found = row(engine)
    assert found.state == "failed"
    assert "in the middle of record 5" in found.error
    assert imported(engine) == ["post-1", "post-2", "post-3", "post-4"]
    assert row(engine).state == "failed", "the batches don't make it done"


def test_a_feed_that_changed_between_two_attempts_is_not_read_on(engine, read, feed_file, site):
    source = feed_file(10)
    with pytest.raises(Killed):
        read(source, killed_before=2)
    feed_file(11)
    with pytest.raises(FeedChanged) as raised:
        read(source)
    assert raised.value.safe_to_retry
    assert row(engine).state == "failed"
    assert read(source, job="job-2") is True, "published again, it is a feed of its own"
    assert len(imported(engine, feed=2)) == 11


def test_a_feed_that_changes_while_it_is_read_is_noticed_before_the_next_batch(engine, site, feed_file):
    source = feed_file(10)
    sent = []

    def stage(feed, batch):
        sent.append(batch.number)
        with (site.feeds_directory / source).open("a") as file:
            file.write("{}\n")
        return staged(engine, feed, batch)

    with pytest.raises(FeedChanged):
        read_feed(engine, begun(engine, "job-1", source, "feed"), stage, site)
    assert sent == [0]


def test_a_feed_that_grows_behind_its_last_record_is_noticed_at_the_end(engine, site, feed_file):
    source = feed_file(3)

    def stage(feed, batch):
        os.utime(site.feeds_directory / source, ns=(1, 1))
        return staged(engine, feed, batch)

    with pytest.raises(FeedChanged):
        read_feed(engine, begun(engine, "job-1", source, "feed"), stage, site)


def test_a_feed_that_is_replaced_by_renaming_is_read_to_its_end(engine, site, feed_file):
    source = feed_file(10)

    def stage(feed, batch):
        newer = site.feeds_directory / "newer"
        newer.write_text("{}\n")
        newer.replace(site.feeds_directory / source)
        return staged(engine, feed, batch)

    assert read_feed(engine, begun(engine, "job-1", source, "feed"), stage, site) is True
    assert len(imported(engine)) == 10


def test_bad_records_are_rejected_and_the_feed_goes_on(engine, read, site, record):
    long = record(3, body="x" * LIMIT)
    lines = [
        json.dumps(record(1)).encode(),
        b"{broken",
        json.dumps(long).encode(),
        b"caf\xe9",
        json.dumps(record(5)).encode(),
    ]
    (site.feeds_directory / "feed.ndjson").write_bytes(b"\n".join(lines))
    assert read("feed.ndjson") is True
    assert imported(engine) == ["post-1", "post-5"]
    with engine.begin() as connection:
        found = connection.execute(select(rejections.c.line, rejections.c.source_id).order_by(rejections.c.line)).all()
    assert [tuple(one) for one in found] == [(2, ""), (3, "post-3"), (4, "")]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", FeedEmpty),
        (b"\n \n", FeedEmpty),
        (b"[]", FeedEmpty),
        ("[]".encode("utf-16"), FeedEncodingWrong),
        (b"\x1f\x8b\x08\x00", FeedEncodingWrong),
        (b"<html>", FeedMalformed),
    ],
)
def test_bad_content_has_an_error_of_its_own_and_the_row_says_why(engine, read, site, content, error):
    (site.feeds_directory / "bad").write_bytes(content)
    with pytest.raises(error):
        read("bad")
    found = row(engine)
    assert (found.state, read.sent) == ("failed", [])
    assert "received" in found.error


def test_bad_places_have_errors_of_their_own(engine, read, site, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("{}")
    (site.feeds_directory / "link").symlink_to(tmp_path / "secret")
    (site.feeds_directory / "circle").symlink_to(site.feeds_directory / "circle")
    (site.feeds_directory / "folder").mkdir()
    os.mkfifo(site.feeds_directory / "pipe")
    monkeypatch.chdir(site.feeds_directory)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    expected = {
        "absent": FeedMissing,
        "circle": FeedMissing,
        "folder/absent/deeper": FeedMissing,
        "folder": FeedNotAFile,
        "pipe": FeedNotAFile,
        "socket": FeedNotAFile,
        "link": FeedForbidden,
        "../secret": FeedForbidden,
        str(tmp_path / "secret"): FeedForbidden,
        "/etc/passwd": FeedForbidden,
        "file:///etc/passwd": FeedForbidden,
        "ftp://127.0.0.1/feed": FeedForbidden,
        "http://user:password@127.0.0.1/feed": FeedForbidden,
        "x" * 501: FeedForbidden,
        "x" * 400: FeedMissing,
        "http://[": FeedForbidden,
        "http://": FeedForbidden,
        "nul\x00": FeedForbidden,
        "": FeedForbidden,
    }
    for number, (source, error) in enumerate(expected.items()):
        with pytest.raises(error) as raised:
            read(source, job=f"job {number}")
        assert raised.value.expected
        assert "user:password" not in str(raised.value)
    with engine.begin() as connection:
        assert not [stored for stored in connection.execute(select(feeds.c.source)).scalars() if "password" in stored]


def test_a_path_inside_the_folder_may_be_absolute_or_a_link_that_stays_inside(read, site, feed_file):
    feed_file(1)
    (site.feeds_directory / "link").symlink_to(site.feeds_directory / "feed.json")
    assert read(str(site.feeds_directory / "feed.json"))
    assert read("link", job="job-2")


def test_reading_goes_on_only_with_the_source_that_it_began_with(engine, read, feed_file):
    read(feed_file(1))
    with pytest.raises(FeedForbidden, match="can't go on"):
        load(engine, 1, "other")
    with pytest.raises(FeedForbidden, match="no such feed"):
        load(engine, 99, "feed.json")


def test_a_batch_that_was_never_recorded_is_a_permanent_failure(engine):
    with engine.begin() as connection, pytest.raises(PermanentFailure, match="batch 3 of feed 1"):
        store_batch(connection, 1, 3, LIMIT)


def test_a_batch_ends_with_the_record_that_makes_it_full():
    records = [Record(line, 0, b"x" * 40, 40, Position()) for line in range(1, 8)]
    assert [len(group) for group in batched(records, 3, 1000)] == [3, 3, 1]
    assert [len(group) for group in batched(records, 100, 80)] == [2, 2, 2, 1]


def test_what_is_packed_comes_out_the_same():
    records = [Record(line, 0, bytes(range(line)), line * 2**33, Position()) for line in range(5)]
    found = unpacked(packed(records))
    assert [(item.line, item.raw, item.size) for item in found] == [(r.line, r.raw, r.size) for r in records]
