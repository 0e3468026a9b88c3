"""The demo's checks: each holds when all is well, and each can fail."""

import pytest
from sqlalchemy import create_engine, text

from actors.sitemap import Page, write_sitemap
from deploy.demo import checks
from deploy.demo.expectation import ExpectedPost, ExpectedRejection
from workers.clock import utcnow

POSTS = [
    ExpectedPost("a", "slug-a", 2, published=True),
    ExpectedPost("b", "slug b", 1, published=True),
    ExpectedPost("c", "slug-c", 1, published=False),
]
EXPECTED = {post.source_id: post for post in POSTS}
REJECTIONS = [ExpectedRejection(3, "title"), ExpectedRejection(9, "")]


@pytest.fixture
def connection():
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        for table in (
            "posts (source_id, version, published)",
            "rejections (line, field, expected, closed_at)",
            "dutiful_keys (state)",
            "dutiful_outbox (body)",
            "feeds (id)",
        ):
            connection.execute(text(f"CREATE TABLE {table}"))
        for name, _, version, published in POSTS:
            connection.execute(text("INSERT INTO posts VALUES (:n, :v, :p)"), {"n": name, "v": version, "p": published})
        for line, field in REJECTIONS:
            connection.execute(text("INSERT INTO rejections VALUES (:l, :f, 'text', NULL)"), {"l": line, "f": field})
        connection.execute(text("INSERT INTO dutiful_keys VALUES ('done'), ('dead')"))
        connection.execute(text("INSERT INTO feeds VALUES (1)"))
        yield connection
    engine.dispose()


def broken(connection):
    everything = [
        *checks.check_posts(connection, EXPECTED),
        *checks.check_rejections(connection, REJECTIONS),
        *checks.check_jobs(connection),
    ]
    return {check.what: check.found for check in everything if not check.holds}


def test_all_checks_hold_when_everything_is_as_expected(connection):
    assert broken(connection) == {}


@pytest.mark.parametrize(
    ("fault", "noticed", "names"),
    [
        ("DELETE FROM posts WHERE source_id = 'a'", "every valid post is stored", "a"),
        ("INSERT INTO posts VALUES ('z', 1, false)", "nothing else is stored", "z"),
        ("INSERT INTO posts VALUES ('a', 2, true)", "each post is stored once", "a (2 rows)"),
        ("UPDATE posts SET version = 1", "each post has the version that wins", "a (version 1, not 2)"),
        ("UPDATE posts SET published = true", "posts that wait for a person are hidden", "c"),
        (
            "DELETE FROM rejections WHERE line = 3",
            "every broken record is rejected by its field",
            "line 3, field title",
        ),
        ("UPDATE rejections SET closed_at = 1", "every broken record is rejected by its field", "(record)"),
        ("INSERT INTO rejections VALUES (4, 'x', 'y', NULL)", "no sound record is rejected", "line 4, field x"),
        ("UPDATE rejections SET expected = ''", "every rejection says what was expected", "line 3"),
        ("INSERT INTO dutiful_keys VALUES ('running')", "every job has ended", "running: 1"),
        ("INSERT INTO dutiful_outbox VALUES ('')", "nothing waits to be sent", "1 messages"),
        ("INSERT INTO feeds VALUES (2)", "the import that was asked for twice ran once", "2 runs"),
    ],
)
def test_each_fault_breaks_its_own_check_alone_and_is_named(connection, fault, noticed, names):
    connection.execute(text(fault))
    found = broken(connection)
    assert list(found) == [noticed]
    assert names in found[noticed]


def test_a_message_in_a_queue_is_found_but_not_one_among_the_dead():
    assert checks.check_queues({"content": 0, "content.XQ": 1}).holds
    assert not checks.check_queues({"content": 1}).holds
    assert not checks.check_queues({}).holds, "no queues at all means that nothing was looked at"


def test_the_sitemap_must_list_exactly_the_published_posts(tmp_path):
    site = "https://site.example"
    pages = [Page(post.slug, utcnow()) for post in POSTS if post.published]
    assert "no sitemap" in checks.check_sitemap(tmp_path, site, POSTS).found
    write_sitemap(pages, tmp_path, site)
    assert checks.check_sitemap(tmp_path, site, POSTS).holds
    write_sitemap(pages[:1], tmp_path, site)
    assert "slug%20b" in checks.check_sitemap(tmp_path, site, POSTS).found
    write_sitemap([*pages, Page("more", utcnow())], tmp_path, site)
    assert "/more" in checks.check_sitemap(tmp_path, site, POSTS).found


def test_a_suppressed_duplicate_is_read_from_the_log():
    log = 'plain line\n{"event": "job_duplicate", "message_id": "one"}\n{"event": "job_dead", "message_id": "two"}\n'
    assert checks.suppressed(log) == ["one"]
