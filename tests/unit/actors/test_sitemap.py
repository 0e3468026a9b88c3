"""The sitemap: protocol limits, whole files at every moment, the same bytes for the same posts."""

import os
import threading
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import JSON, Float, Integer, String, create_engine

from actors.content.tables import posts
from actors.settings import site_settings
from actors.sitemap import Limits, Page, build, locked, published_pages, write_sitemap
from workers import PermanentFailure, RetryLater

SITE = "https://site.example"
MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
XML = "{http://www.sitemaps.org/schemas/sitemap/0.9}"


def pages(count, prefix="post"):
    return [Page(f"{prefix}-{number:05}", MOMENT + timedelta(hours=number)) for number in range(count)]


def files_named_by_the_index(folder):
    root = ET.parse(folder / "sitemap.xml").getroot()
    assert root.tag == f"{XML}sitemapindex"
    return [urlsplit(loc.text).path.lstrip("/") for loc in root.iter(f"{XML}loc")]


def slugs(folder):
    """Read the sitemap as a crawler does: the index, then every file it names."""
    found = []
    for name in files_named_by_the_index(folder):
        root = ET.parse(folder / name).getroot()
        assert root.tag == f"{XML}urlset"
        for url in root:
            address = url.findtext(f"{XML}loc")
            assert address.startswith(f"{SITE}/posts/")
            assert url.findtext(f"{XML}lastmod").endswith("Z")
            found.append(unquote(address.removeprefix(f"{SITE}/posts/")))
    return found


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_sitemap_lists_every_page_once_in_order(tmp_path):
    assert write_sitemap(pages(25), tmp_path, SITE, Limits(urls=10)) == 3
    assert slugs(tmp_path) == [page.slug for page in pages(25)]
    assert files_named_by_the_index(tmp_path) == ["sitemap-1.xml", "sitemap-2.xml", "sitemap-3.xml"]


def test_a_last_file_that_is_exactly_full_is_not_followed_by_an_empty_one(tmp_path):
    assert write_sitemap(pages(20), tmp_path, SITE, Limits(urls=10)) == 2


def test_no_file_is_larger_than_the_size_limit(tmp_path):
    write_sitemap(pages(100), tmp_path, SITE, Limits(size=1000))
    sizes = [(tmp_path / name).stat().st_size for name in files_named_by_the_index(tmp_path)]
    assert len(sizes) > 1
    assert max(sizes) <= 1000
    assert min(sizes[:-1]) > 1000 - 200, "a file was cut long before it was full"
    assert slugs(tmp_path) == [page.slug for page in pages(100)]


def test_the_protocol_limits_are_the_default(tmp_path):
    assert write_sitemap(pages(50_001), tmp_path, SITE) == 2
    assert len(ET.parse(tmp_path / "sitemap-1.xml").getroot()) == 50_000


def test_more_posts_than_an_index_can_name_is_a_permanent_failure_and_leaves_the_old_sitemap(tmp_path):
    write_sitemap(pages(4), tmp_path, SITE)
    with pytest.raises(PermanentFailure, match="post-00004"):
        write_sitemap(pages(5), tmp_path, SITE, Limits(urls=2, files=2))
    assert slugs(tmp_path) == [page.slug for page in pages(4)]


def test_a_site_without_posts_has_an_empty_sitemap_that_parses(tmp_path):
    assert write_sitemap([], tmp_path, SITE) == 1
    assert slugs(tmp_path) == []
    assert files_named_by_the_index(tmp_path) == ["sitemap-1.xml"]


def test_a_smaller_sitemap_removes_the_files_it_no_longer_needs(tmp_path):
    write_sitemap(pages(30), tmp_path, SITE, Limits(urls=10))
    (tmp_path / "sitemap-images.xml").write_text("someone else's")
    write_sitemap(pages(5), tmp_path, SITE, Limits(urls=10))
    assert sorted(contents(tmp_path)) == [".sitemap.lock", "sitemap-1.xml", "sitemap-images.xml", "sitemap.xml"]


def test_building_twice_gives_the_same_bytes(tmp_path):
    write_sitemap(pages(25), tmp_path, SITE, Limits(urls=10))
    first = contents(tmp_path)
    write_sitemap(iter(pages(25)), tmp_path, SITE + "/", Limits(urls=10))
    assert contents(tmp_path) == first


def test_the_date_is_in_utc_whatever_zone_the_database_answers_in(tmp_path):
    moments = [MOMENT, MOMENT.astimezone(timezone(timedelta(hours=-7))), MOMENT.replace(tzinfo=None)]
    write_sitemap([Page(str(number), moment) for number, moment in enumerate(moments)], tmp_path, SITE)
    dates = [node.text for node in ET.parse(tmp_path / "sitemap-1.xml").iter(f"{XML}lastmod")]
    assert dates == ["2026-03-04T05:06:07Z"] * 3


def test_the_index_says_when_each_file_last_changed(tmp_path):
    write_sitemap(pages(3), tmp_path, SITE, Limits(urls=2))
    dates = [node.text for node in ET.parse(tmp_path / "sitemap.xml").iter(f"{XML}lastmod")]
    assert dates == ["2026-03-04T06:06:07Z", "2026-03-04T07:06:07Z"]


def row(source_id, **changed):
    texts = {column.name: "" for column in posts.columns if isinstance(column.type, String)}
    numbers = {column.name: 0 for column in posts.columns if isinstance(column.type, Integer | Float)}
    lists = {column.name: [] for column in posts.columns if isinstance(column.type, JSON)}
    fixed = {"source_id": source_id, "slug": source_id, "published": True, "last_modified": MOMENT}
    return {**texts, **numbers, **lists, **fixed, **changed}


def test_the_pages_are_the_published_posts_by_slug(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/site.db")
    posts.create(engine)
    later = MOMENT + timedelta(days=1)
    with engine.begin() as connection:
        connection.execute(
            posts.insert(),
            [
                row("b"),
                row("a"),
                row("hidden", published=False),
                row("same slug as b", slug="b", last_modified=later),
                row("hidden with the slug of a", slug="a", published=False, last_modified=later),
            ],
        )
        assert list(published_pages(connection)) == [
            Page("a", MOMENT.replace(tzinfo=None)),
            Page("b", later.replace(tzinfo=None)),
        ]
    engine.dispose()


def test_the_job_writes_the_sitemap_of_what_is_in_the_store(jobs, monkeypatch, tmp_path):
    monkeypatch.setenv("SITE_PUBLIC_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("SITE_BASE_URL", SITE)
    site_settings.cache_clear()
    with jobs.store.begin() as connection:
        connection.execute(posts.insert(), [row("a"), row("hidden", published=False)])
    build.send(reason="a test")
    jobs.run()
    site_settings.cache_clear()
    assert slugs(tmp_path) == ["a"]
    assert jobs.dead_letters == []


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the code under test may run on it."""


class Fault:
    """Lets a system call through n times, then kills the build."""

    def __init__(self, call, calls_left):
        self.call, self.calls_left = call, calls_left

    def __call__(self, *arguments, **options):
        if self.calls_left == 0:
            raise Killed
        self.calls_left -= 1
        return self.call(*arguments, **options)


@pytest.mark.parametrize(("old", "new"), [(25, 15), (15, 25)], ids=["shrinking", "growing"])
@pytest.mark.parametrize("name", ["fsync", "replace", "unlink"])
def test_a_build_killed_at_any_system_call_leaves_an_index_of_whole_files(tmp_path, monkeypatch, old, new, name):
    """The fault moves along until the build needs no more calls."""
    call = getattr(os, name)
    for calls_left in range(20):
        write_sitemap(pages(old), tmp_path, SITE, Limits(urls=10))
        with monkeypatch.context() as patch:
            patch.setattr(os, name, Fault(call, calls_left))
            try:
                write_sitemap(pages(new), tmp_path, SITE, Limits(urls=10))
                killed = False
            except Killed:
                killed = True
        seen = slugs(tmp_path)
        assert set(seen) <= {page.slug for page in pages(max(old, new))}
        assert len(seen) == len(set(seen))
        assert len(seen) >= min(old, new)
        if not killed:
            break
    assert not killed
    assert slugs(tmp_path) == [page.slug for page in pages(new)]


def test_posts_that_stop_coming_halfway_leave_the_old_sitemap_untouched(tmp_path):
    write_sitemap(pages(25), tmp_path, SITE, Limits(urls=10))
    before = contents(tmp_path)

    def interrupted():
        yield from pages(15, prefix="other")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        write_sitemap(interrupted(), tmp_path, SITE, Limits(urls=10))
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    write_sitemap(pages(25), tmp_path, SITE, Limits(urls=10))
    assert contents(tmp_path) == before, "the next build did not clear away what the broken one left"


def test_a_second_build_at_the_same_time_is_put_off_and_changes_nothing(tmp_path):
    write_sitemap(pages(3), tmp_path, SITE)
    before = contents(tmp_path)
    with locked(tmp_path), pytest.raises(RetryLater):
        write_sitemap(pages(9), tmp_path, SITE)
    assert contents(tmp_path) == before
    write_sitemap(pages(9), tmp_path, SITE)
    assert len(slugs(tmp_path)) == 9


def test_builds_racing_in_threads_never_mix(tmp_path):
    barrier = threading.Barrier(4)
    unexpected = []

    def race(prefix):
        barrier.wait(timeout=10)
        for _ in range(10):
            try:
                write_sitemap(pages(25, prefix), tmp_path, SITE, Limits(urls=10))
            except RetryLater:
                pass
            except Exception as error:  # noqa: BLE001  whatever it is, it must reach the test's own thread
                unexpected.append(error)

    threads = [threading.Thread(target=race, args=(prefix,)) for prefix in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not unexpected
    found = slugs(tmp_path)
    assert found == [page.slug for page in pages(25, found[0][0])]


def test_a_base_url_with_an_ampersand_is_escaped(tmp_path):
    write_sitemap(pages(1), tmp_path, "https://site.example/?a=1&b=2")
    address = ET.parse(tmp_path / "sitemap-1.xml").findtext(f"{XML}url/{XML}loc")
    assert address == "https://site.example/?a=1&b=2/posts/post-00000"


any_slug = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(any_slug, st.datetimes(timezones=st.just(UTC))), max_size=30), st.integers(1, 7))
def test_any_slug_survives_the_way_through_xml_and_percent_encoding(tmp_path_factory, rows, urls):
    folder = tmp_path_factory.mktemp("public", numbered=True)
    write_sitemap([Page(slug, moment) for slug, moment in rows], folder, SITE, Limits(urls=urls))
    assert slugs(folder) == [slug for slug, _ in rows]
    for name in files_named_by_the_index(folder):
        assert (folder / name).read_bytes().isascii()
    assert all(quote(slug, safe="").isascii() for slug, _ in rows)
