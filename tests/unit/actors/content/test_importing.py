"""Importing: from one message to posts, rejections and a sitemap, through the runtime."""

import json

import pytest
from sqlalchemy import select

from actors.content import import_batch, import_feed
from actors.content.importing import name_of
from actors.content.tables import feeds, posts, rejections
from actors.settings import site_settings


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The settings that the actors read, with folders of the test's own."""
    (tmp_path / "feeds").mkdir()
    monkeypatch.setenv("SITE_FEEDS_DIRECTORY", str(tmp_path / "feeds"))
    monkeypatch.setenv("SITE_PUBLIC_DIRECTORY", str(tmp_path / "public"))
    monkeypatch.setenv("SITE_BATCH_RECORDS", "3")
    monkeypatch.setenv("SITE_MAX_WAITING_BATCHES", "2")
    site_settings.cache_clear()
    yield site_settings()
    site_settings.cache_clear()


@pytest.fixture
def feed(site, record):
    """A feed of ten posts; the fourth is broken."""
    lines = [json.dumps(record(number, title=None if number == 4 else f"Post {number}")) for number in range(1, 11)]
    (site.feeds_directory / "feed.ndjson").write_text("\n".join(lines))
    return "feed.ndjson"


def rows(jobs, table=posts):
    with jobs.store.begin() as connection:
        return sorted((tuple(row) for row in connection.execute(select(table))), key=str)


def test_a_feed_becomes_posts_rejections_and_a_sitemap(jobs, site, feed):
    import_feed.send(source=feed)
    jobs.run()
    assert len(rows(jobs)) == 9
    assert [row[:4] for row in rows(jobs, rejections)] == [("feed.ndjson", 4, "post-4", "title")]
    with jobs.store.begin() as connection:
        found = connection.execute(select(feeds)).one()
    assert (found.state, found.name, found.imported, found.rejected) == ("done", "feed.ndjson", 9, 1)
    sent = [message.actor_name for message in jobs.published]
    assert sent.count("content.import_batch") == 4
    assert (sent.count("content.finish_feed"), sent.count("sitemap.build")) == (1, 1)
    assert sent.count("content.import_feed") > 1, "it handed on when two batches were waiting"
    assert "post-10" in (site.public_directory / "sitemap-1.xml").read_text()
    assert jobs.dead_letters == []


def test_the_same_feed_published_again_runs_again_and_changes_nothing(jobs, feed):
    import_feed.send(source=feed)
    jobs.run()
    first = rows(jobs)
    import_feed.send(source=feed)
    jobs.run()
    assert rows(jobs) == first
    assert len(rows(jobs, feeds)) == 2
    assert len(rows(jobs, rejections)) == 1


def test_the_message_of_a_batch_carries_no_records(jobs, feed):
    import_feed.send(source=feed, feed="nightly")
    jobs.run()
    batches = [message for message in jobs.published if message.actor_name == "content.import_batch"]
    assert [message.kwargs for message in batches] == [{"feed": 1, "number": number} for number in range(4)]


def test_a_batch_published_twice_is_stored_once(jobs, feed):
    import_feed.send(source=feed)
    jobs.run()
    import_batch.send(feed=1, number=0)
    jobs.run()
    with jobs.store.begin() as connection:
        assert connection.execute(select(feeds.c.batches_done)).scalar_one() == 4


def test_a_truncated_feed_is_a_dead_letter_and_its_whole_records_are_imported(jobs, site, feed):
    path = site.feeds_directory / feed
    path.write_text(path.read_text()[:-20])
    import_feed.send(source=feed)
    jobs.run()
    assert len(rows(jobs)) == 8
    (letter,) = jobs.dead_letters
    assert letter["dutiful-reason"] == "permanent"
    assert "in the middle of record 10" in letter["dutiful-exception-message"]


def test_a_path_outside_the_folder_is_a_dead_letter(jobs, site):
    import_feed.send(source="/etc/passwd")
    jobs.run()
    (letter,) = jobs.dead_letters
    assert letter["dutiful-exception-type"].endswith("FeedForbidden")
    assert rows(jobs) == []


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("posts.ndjson", "posts.ndjson"),
        ("daily/posts.json", "posts.json"),
        ("https://example.com/a/b.json?x=1", "b.json"),
        ("https://example.com", "example.com"),
        ("/", "/"),
    ],
)
def test_a_feed_is_named_after_its_source(source, name):
    assert name_of(source) == name
