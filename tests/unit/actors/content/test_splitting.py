"""Splitting: whatever the pieces, the same records; whatever the position, the rest of them."""

import json
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.content.errors import FeedEmpty, FeedEncodingWrong, FeedMalformed, FeedTruncated
from actors.content.splitting import HEAD, Position, split

LIMIT = 1 << 16

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
records_of_feeds = st.lists(st.dictionaries(st.text(max_size=8), json_values, max_size=5), min_size=1, max_size=8)
spaces = st.sampled_from(["", " ", "\n", "\r\n\t "])


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


def lines_of(records, ascii_only=False) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=ascii_only).encode() + b"\n" for record in records)


def array_of(records, space="") -> bytes:
    return f"{space}[{space}{f'{space},{space}'.join(json.dumps(r) for r in records)}{space}]{space}".encode()


def contents(feed: list[bytes], start: Position | None = None, limit: int = LIMIT):
    return [(r.line, json.loads(r.raw)) for r in split(feed, start or Position(), limit)]


@settings(deadline=None)
@given(records_of_feeds, st.lists(st.integers(0, 10_000), max_size=12), spaces)
def test_an_array_cut_anywhere_gives_the_records_of_its_lines(records, cuts, space):
    expected = list(enumerate(records, start=1))
    assert contents(in_pieces(lines_of(records), cuts)) == expected
    assert contents(in_pieces(lines_of(records, ascii_only=True), cuts)) == expected
    assert contents(in_pieces(array_of(records, space), cuts)) == expected


@settings(deadline=None)
@given(records_of_feeds, st.booleans(), st.integers(0, 7), st.lists(st.integers(0, 10_000), max_size=5))
def test_reading_goes_on_behind_any_record(records, as_array, stop, cuts):
    feed = array_of(records, "\n") if as_array else lines_of(records)
    whole = list(split([feed], Position(), LIMIT))
    stop %= len(whole)
    after = whole[stop].after
    rest = list(split(in_pieces(feed[after.offset :], cuts), after, LIMIT))
    assert rest == whole[stop + 1 :]
    assert all(feed[r.offset : r.offset + r.size] == r.raw for r in whole)


def test_every_single_byte_may_be_a_piece_of_its_own():
    feed = array_of([{"a": 'quote " backslash \\ both \\" [{', "b": [[], {}]}, {"c": "é\u2028"}, {}], " ")
    assert contents([bytes([byte]) for byte in feed]) == contents([feed])


def test_blank_lines_are_counted_but_are_no_records():
    assert contents([b'\n\n{"a": 1}\r\n  \n{"a": 2}']) == [(3, {"a": 1}), (5, {"a": 2})]


def test_a_byte_order_mark_before_utf_8_is_no_part_of_the_feed():
    assert contents([b"\xef\xbb", b'\xbf{"a": 1}\n']) == [(1, {"a": 1})]
    assert contents([b"\xef\xbb\xbf [1]"]) == [(1, 1)]


def test_elements_of_an_array_that_are_no_maps_are_records_all_the_same():
    assert contents([b'[1, "a,]", nu', b"ll, [2], true]"]) == [(1, 1), (2, "a,]"), (3, None), (4, [2]), (5, True)]


@pytest.mark.parametrize(
    ("feed", "error", "word"),
    [
        (b"", FeedEmpty, "all blank"),
        (b" \n\t\r\n", FeedEmpty, "all blank"),
        (b"\xef\xbb\xbf", FeedEmpty, "all blank"),
        (b" [ ] ", FeedEmpty, "an empty array"),
        ('{"a": 1}'.encode("utf-16"), FeedEncodingWrong, "UTF-16"),
        ('{"a": 1}'.encode("utf-16-be"), FeedEncodingWrong, "without a byte order mark"),
        ('{"a": 1}'.encode("utf-32"), FeedEncodingWrong, "UTF-32"),
        (b"\x1f\x8b\x08\x00\x00", FeedEncodingWrong, "gzip"),
        (b"PK\x03\x04....", FeedEncodingWrong, "zip"),
        (b"<!DOCTYPE html><p>Log in", FeedMalformed, "markup"),
        (b'{\n  "posts": []\n}\n', FeedMalformed, "an object over many lines"),
        (b"[{} {}]", FeedMalformed, "behind record 1, at byte 4"),
        (b"[{},,{}]", FeedMalformed, "received ,"),
        (b"[{}} ]", FeedMalformed, "received }"),
        (b"[{}] {}", FeedMalformed, "expected nothing"),
        (b"[", FeedTruncated, "record 1"),
        (b"[{}", FeedTruncated, "record 2"),
        (b"[{},", FeedTruncated, "record 2"),
        (b'[{}, {"a": "b', FeedTruncated, "record 2, which begins at byte 5"),
        (b'{}\n{"a": [1, 2', FeedTruncated, "record 2, which begins at byte 3"),
    ],
)
def test_a_feed_that_can_not_be_split_has_an_error_of_its_own(feed, error, word):
    with pytest.raises(error, match=word) as raised:
        list(split([feed], Position(), LIMIT))
    assert raised.value.expected
    assert raised.value.safe_to_retry


@pytest.mark.parametrize("feed", [b'[{"n": 1}, {"n": 2}, {"n": 3', b'{"n": 1}\n{"n": 2}\n{"n": '])
def test_a_truncated_feed_keeps_the_records_before_the_cut(feed):
    records = split([feed], Position(), LIMIT)
    assert [json.loads(next(records).raw) for _ in range(2)] == [{"n": 1}, {"n": 2}]
    with pytest.raises(FeedTruncated, match="record 3"):
        next(records)


@pytest.mark.parametrize("as_array", [True, False])
def test_of_a_record_that_is_too_long_only_the_head_is_kept(as_array):
    records = [{"n": 1}, {"source_id": "long", "body": "x" * 5000}, {"n": 3}]
    feed = array_of(records) if as_array else lines_of(records)
    found = list(split(in_pieces(feed, list(range(0, len(feed), 700))), Position(), 2000))
    assert [json.loads(r.raw) for r in (found[0], found[2])] == [{"n": 1}, {"n": 3}]
    assert found[1].raw == json.dumps(records[1]).encode()[:HEAD]
    assert found[1].size == len(json.dumps(records[1]))


@pytest.mark.parametrize("opening", [b"[", b""])
def test_memory_stays_the_same_however_long_the_feed_or_its_longest_record(opening):
    piece = b'{"body": "' + b"All work and no play. " * 300 + b'"}'
    separator = b"," if opening else b"\n"
    closing = b"]" if opening else b""

    def feed():
        yield opening + piece
        for _ in range(3_000):  # 20 MB
            yield separator + piece
        yield separator + b'{"endless": "'
        for _ in range(3_000):  # one record of 20 MB
            yield piece.replace(b'"', b"'")
        yield b'"}' + closing

    tracemalloc.start()
    count = sum(1 for _ in split(feed(), Position(), 1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 3_002
    assert peak < 6_000_000
