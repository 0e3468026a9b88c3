"""The generated feed: the same for the same seed, of the stated shape, with an expectation that is true."""

import json
import subprocess
import sys
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.content.parsing import Refused, parse
from actors.content.post import Post
from actors.content.splitting import Position, split
from deploy.demo.expectation import ExpectedPost, ExpectedRejection, read_expectation
from deploy.demo.feed import Feed, Shape, write_feed
from deploy.demo.flaws import FLAWS
from deploy.demo.hostile import HOSTILE, enormous_body

LIMIT = 1 << 20  # the importer's default for one record


def generate(shape):
    """Return the feed's bytes, the expected posts by id and the expected fields by line."""
    posts, rejections = {}, {}

    def expect(expected):
        if isinstance(expected, ExpectedPost):
            assert expected.source_id not in posts, "expected twice"
            posts[expected.source_id] = expected
        else:
            rejections[expected.line] = expected.field

    return b"".join(Feed(shape, expect)), posts, rejections


def winners(records, rejections):
    """Work out from the text itself which version of each post must win."""
    found = {}
    for line, record in records:
        if line not in rejections:
            revision, flags = record["revision"], record["flags"]
            asked = flags == ["Needs-Human-Review"] or flags["needs_human_review"]
            published = revision["status"] == "published" and not asked
            post = ExpectedPost(record["source_id"], record["slug"], revision["version"], published)
            if post.source_id not in found or found[post.source_id].version < post.version:
                found[post.source_id] = post
    return found


def readable(data, rejections):
    for line, text in enumerate(data.splitlines(), start=1):
        if line not in rejections:
            yield line, json.loads(text)


shapes = st.builds(
    Shape,
    posts=st.integers(0, 300),
    seed=st.integers(0, 1000),
    broken=st.floats(0, 1),
    duplicates=st.floats(0, 1),
    changed=st.floats(0, 1),
)


@settings(max_examples=25, deadline=None)
@given(shapes)
def test_the_expectation_says_which_version_of_every_post_wins(shape):
    data, posts, rejections = generate(shape)
    assert winners(readable(data, rejections), rejections) == posts


@settings(max_examples=15, deadline=None)
@given(shapes)
def test_the_same_seed_gives_the_same_bytes(shape):
    assert generate(shape) == generate(shape)


def test_another_seed_gives_another_feed():
    assert generate(Shape(posts=10, seed=1))[0] != generate(Shape(posts=10, seed=2))[0]


def test_the_shares_are_exact():
    data, posts, rejections = generate(Shape(posts=1000, broken=0.01, duplicates=0.02, changed=0.05))
    lines = data.splitlines()
    assert len(lines) == 1000 + 20 + 50
    assert len(rejections) == 10
    assert len(posts) == 990
    assert sum(count - 1 for count in Counter(lines).values()) == 20


def test_every_kind_of_flaw_takes_its_turn():
    _, _, rejections = generate(Shape(posts=100, broken=len(FLAWS) / 100))
    assert len(rejections) == len(FLAWS)
    assert {"title", "source_id", "view_count", "body", "reading_time", "score.quality", ""} == set(rejections.values())


def test_some_changes_come_too_late_and_lose():
    data, posts, rejections = generate(Shape(posts=500, changed=0.5))
    late, best = 0, {}
    for _, record in readable(data, rejections):
        version, before = record["revision"]["version"], best.get(record["source_id"], 0)
        late += version < before
        best[record["source_id"]] = max(version, before)
    assert late > 10
    assert all(posts[name].version == version for name, version in best.items())


@pytest.mark.parametrize("array", [False, True], ids=["ndjson", "array"])
def test_the_importer_reads_every_record_as_expected(array):
    """The generator never asks the importer; this test does, so that the two cannot drift apart."""
    data, posts, rejections = generate(Shape(posts=600, broken=0.1, changed=0.1, hostile=len(HOSTILE), array=array))
    refused, stored = {}, {}
    for record in split([data], Position(), LIMIT):
        read = parse(record.raw, record.size, LIMIT)
        post = [read.why] if isinstance(read, Refused) else Post.read(read)
        if isinstance(post, list):
            refused[record.line] = ",".join(problem.field for problem in post)
            continue
        seen = ExpectedPost(post.source_id, post.slug, post.revision.version, post.published)
        if post.source_id not in stored or stored[post.source_id].version < seen.version:
            stored[post.source_id] = seen
    assert refused == rejections
    assert stored == posts


def test_an_array_is_one_json_document():
    data, posts, rejections = generate(Shape(posts=50, broken=0, array=True))
    assert winners(enumerate(json.loads(data), start=1), rejections) == posts


def test_an_empty_array_is_still_an_array():
    assert json.loads(generate(Shape(posts=0, array=True))[0]) == []


def test_a_hostile_feed_has_a_body_of_ten_megabytes():
    data, _, _ = generate(Shape(posts=20, hostile=len(HOSTILE)))
    assert max(len(line) for line in data.splitlines()) > 9_900_000
    assert enormous_body in HOSTILE


def test_the_text_is_not_all_ascii_and_not_all_alike():
    data, posts, _ = generate(Shape(posts=200, broken=0, duplicates=0, changed=0))
    records = [json.loads(line) for line in data.splitlines()]
    assert len({record["body"] for record in records}) == len(records) == len(posts)
    assert len({record["slug"] for record in records}) == len(records)
    assert sum(not record["title"].isascii() for record in records) > 5
    assert {post.published for post in posts.values()} == {True, False}


def peak_memory(posts):
    tracemalloc.start()
    try:
        for _ in Feed(Shape(posts=posts), lambda _: None):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_feed():
    assert peak_memory(2400) < peak_memory(800) * 1.2 + 100_000


def test_the_command_writes_the_feed_and_what_to_expect_of_it(tmp_path):
    out = tmp_path / "feed.json"
    command = [sys.executable, "-m", "deploy.demo.feed", "--posts=30", "--seed=3", "--format=array", f"--out={out}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "30 posts" in done.stdout
    assert len(json.loads(out.read_bytes())) == 33
    expected = list(read_expectation(tmp_path / "feed.json.expected.ndjson"))
    assert sum(isinstance(one, ExpectedPost) for one in expected) == 30


def test_a_share_above_one_is_refused(tmp_path):
    command = [sys.executable, "-m", "deploy.demo.feed", "--broken=2", f"--out={tmp_path / 'feed'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "--broken is a share, from 0 to 1; received 2" in done.stderr


def test_the_expectation_file_says_what_the_generator_said(tmp_path):
    shape = Shape(posts=100, broken=0.1)
    counts = write_feed(shape, tmp_path / "feed", tmp_path / "expected")
    data, posts, rejections = generate(shape)
    assert (tmp_path / "feed").read_bytes() == data
    read = list(read_expectation(tmp_path / "expected"))
    assert [one for one in read if isinstance(one, ExpectedPost)] == list(posts.values())
    assert {one.line: one.field for one in read if isinstance(one, ExpectedRejection)} == rejections
    assert counts == {"records": len(data.splitlines()), "bytes": len(data), "posts": 90, "rejections": 10}
