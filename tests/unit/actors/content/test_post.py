"""Records: a sound one becomes a post, a broken one says where and why."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.content.batches import Item
from actors.content.post import Post
from actors.content.storing import Broken, Sound, judge
from actors.content.tables import posts

LIMIT = 1 << 20


def judged(record) -> Sound | Broken:
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    return judge(Item(7, len(raw), raw), LIMIT)


def test_a_sound_record_becomes_a_row_with_every_column(record):
    found = judged(record(stack=["python"], payload={"k": "v"}, unknown="newer sources say more"))
    assert isinstance(found, Sound)
    assert set(found.row) == {column.name for column in posts.columns}
    assert found.row["published"] is True
    assert found.row["last_modified"].isoformat() == "2026-03-01T00:00:00+00:00"
    assert found.row["payload"] == [{"label": "k", "value": "v"}]


@pytest.mark.parametrize(
    ("change", "field", "expected", "received"),
    [
        ({"title": None}, "title", "valid string", "null"),
        ({"title": "  "}, "title", "at least 1 character", '"  "'),
        ({"title": "x" * 501}, "title", "at most 500 characters", "xxx"),
        ({"title": "half \ud83d"}, "title", "lone surrogates", "half \\ud83d"),
        ({"body": "a\x00b"}, "body", "NUL", "a\\u0000b"),
        ({"payload": {"deep": [{"k\x00": 1}]}}, "payload.deep.0.k\\u0000", "NUL", "k\\u0000"),
        ({"source_id": 17}, "source_id", "valid string", "17"),
        ({"source_id": "x" * 201}, "source_id", "at most 200 characters", "xxx"),
        ({"slug": "../../etc/passwd"}, "slug", "pattern", "passwd"),
        ({"slug": "two words"}, "slug", "pattern", "two words"),
        ({"difficulty": "impossible"}, "difficulty", "'beginner'", "impossible"),
        ({"reading_time": -1}, "reading_time", "greater than or equal to 0", "-1"),
        ({"reading_time": True}, "reading_time", "integer", "true"),
        ({"view_count": "12"}, "view_count", "integer", '"12"'),
        ({"view_count": 2**63}, "view_count", "less than or equal to", "9223372036854775808"),
        ({"view_count": 10**40}, "view_count", "at most 19 digits", "1000000"),
        ({"score": {"quality": 2, "freshness": 0, "depth": 0, "clarity": 0}}, "score.quality", "less than", "2"),
        ({"score": {"quality": float("nan"), "freshness": 0}}, "score.quality", "finite", "nan"),
        ({"payload": [1, {"x": float("inf")}]}, "payload.1.x", "finite", "inf"),
        ({"score": {"quality": 1, "freshness": 0, "depth": 0}}, "score.clarity", "a value", "nothing"),
        (
            {"revision": {"status": "x", "version": 1.5, "last_reviewed": "2026-01-01"}},
            "revision.version",
            "int",
            "1.5",
        ),
        ({"revision": {"status": "x", "version": 1, "last_reviewed": 5}}, "revision.last_reviewed", "ISO 8601", "5"),
        ({"revision": {"status": "x", "version": 1, "last_reviewed": "soon"}}, "revision.last_reviewed", "ISO", "soon"),
        ({"revision": []}, "revision", "dictionary", "[]"),
        ({"image_sources": [{"source": "x", "url": "javascript:alert(1)"}]}, "image_sources.0.url", "pattern", "java"),
        ({"stack": [str(n) for n in range(201)]}, "stack", "at most 200 entries", '["0", "1"'),
    ],
)
def test_a_broken_field_is_named_with_what_was_expected_and_received(record, change, field, expected, received):
    found = judged(record(**change))
    assert isinstance(found, Broken)
    why = next(why for why in found.why if why.field == field)
    assert expected in why.expected
    assert received in why.received
    assert why.safe_to_retry
    assert len(why.received) <= 200


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"source_id": "post-1", "title": "cut', "valid JSON"),
        (b'{"source_id": "post-1", "title": "caf\xe9"}', "UTF-8; byte 37 is not"),
        (
            b'{"source_id": "post-1", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            "at most 32 levels of nesting",
        ),
        (b'{"source_id": "post-1", "payload": ' + b'{"a":' * 100_000, "at most 32 levels of nesting"),
        (b'{"source_id": "post-1", "view_count": ' + b"9" * 5000 + b"}", "valid JSON"),
        (b'{"source_id": "post-1", "title": "raw \x00"}', "valid JSON"),
        (b'{"source_id": "post-1"' + b" " * LIMIT + b"}", "at most 1,048,576 bytes"),
    ],
)
def test_a_record_that_can_not_be_read_is_named_by_its_first_member(raw, expected):
    found = judged(raw)
    assert isinstance(found, Broken)
    assert found.source_id == "post-1"
    assert [why.field for why in found.why] == [""]
    assert expected in found.why[0].expected


def test_a_name_that_can_not_be_stored_is_left_out_of_the_rejection(record):
    for name in ("x" * 201, "nul \x00", "half \ud83d", 17, None):
        found = judged(record(source_id=name, body="nul \x00"))
        assert (found.source_id, found.version) == ("", 1)


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"text"', b"17", b"", b"}{", b"\xff\xfe"])
def test_what_is_no_map_is_rejected_as_a_whole(raw):
    found = judged(raw)
    assert isinstance(found, Broken)
    assert found.source_id == ""


def test_every_wrong_field_has_a_rejection_of_its_own(record):
    found = judged(record(title=1, slug=2, score=3))
    assert {why.field for why in found.why} == {"title", "slug", "score"}
    assert (found.source_id, found.version, found.line) == ("post-1", 1, 7)


def test_markup_is_kept_as_the_text_that_it_is(record):
    found = judged(record(title="<script>alert(1)</script> & List<T>"))
    assert found.row["title"] == "<script>alert(1)</script> & List<T>"


@pytest.mark.parametrize(
    ("flags", "published"),
    [
        ({}, True),
        ({"needs_human_review": False}, True),
        ({"needs_human_review": "no"}, True),
        ({"evergreen": True}, True),
        ({"needs_human_review": True}, False),
        ({"needs_human_review": "yes"}, False),
        ({"needs_human_review": "perhaps"}, False),
        ({"Needs-Review": 1}, False),
        (["needs human review"], False),
        ([{"name": "needs_human_review", "type": "editor"}], False),
    ],
)
def test_a_post_that_needs_human_review_stays_unpublished(record, flags, published):
    assert judged(record(flags=flags)).row["published"] is published


@pytest.mark.parametrize(("status", "published"), [("published", True), ("draft", False), ("reviewed", False)])
def test_only_what_its_source_calls_published_is_published(record, status, published):
    revision = {"status": status, "version": 1, "last_reviewed": "2026-03-01T10:00:00+02:00"}
    assert judged(record(revision=revision)).row["published"] is published


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_can_break_the_judge(raw):
    assert isinstance(judge(Item(1, len(raw), raw), LIMIT), Broken)


@settings(deadline=None)
@given(
    st.sampled_from(sorted(Post.model_fields)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_no_value_in_any_field_can_break_the_judge(field, value):
    sound = {
        "source_id": "a", "title": "a", "slug": "a", "topic": "a", "summary": "", "body": "a", "hash": "a",
        "difficulty": "beginner", "reading_time": 1, "view_count": 1,
        "score": {"quality": 0, "freshness": 0, "depth": 0, "clarity": 0},
        "revision": {"status": "draft", "version": 1, "last_reviewed": "2026-01-01"},
    }  # fmt: skip
    found = judged(sound | {field: value})
    for text in [why.received + why.field + why.expected for why in getattr(found, "why", [])]:
        assert "\x00" not in text
        text.encode()
