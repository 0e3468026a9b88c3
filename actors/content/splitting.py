"""Splits the bytes of a feed into records, in constant memory.

A feed is NDJSON or one JSON array. Only the borders of records are looked for here; whether a record is sound is found
out later, one record at a time, so that a broken one harms no other.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from actors.content.errors import FeedEmpty, FeedEncodingWrong, FeedMalformed, FeedTruncated
from actors.content.value import Value

LINES, ARRAY = "lines", "array"
HEAD = 1024  # how much of a record beyond the limit is kept, to name it by

_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_FOREIGN = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xff\xfe": "UTF-16 or UTF-32, little-endian",
    b"\xfe\xff": "UTF-16, big-endian",
    b"\x00\x00\xfe\xff": "UTF-32, big-endian",
}
_LONGEST_MARK = 5
_NOT_SPACE = re.compile(rb"[^ \t\r\n]")


class Position(NamedTuple):
    """A border between two records: where reading can begin again."""

    offset: int = 0
    line: int = 0
    form: str = ""


class Record(NamedTuple):
    """One record as it stands in the feed.

    Attributes:
      line: NDJSON: its line, from 1. Array: its place, from 1.
      offset: its first byte.
      raw: its bytes; only the first of them where it is longer than the limit.
      size: its length in bytes.
      after: where reading goes on behind it.
    """

    line: int
    offset: int
    raw: bytes
    size: int
    after: Position


class _Pieces:
    """Collects the bytes of one record, and of one that is too long only the head."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        whole = self._size <= self._limit
        self._size += len(piece)
        if self._size <= self._limit:
            self._kept.append(piece)
        elif whole:
            self._kept = [b"".join([*self._kept, piece])[:HEAD]]

    def take(self) -> tuple[bytes, int]:
        raw, size = b"".join(self._kept), self._size
        self._kept, self._size = [], 0
        return raw, size


def split(chunks: Iterable[bytes], start: Position, limit: int) -> Iterator[Record]:
    """Yield the records of a feed from a position on.

    Parameters:
      chunks: the feed's bytes from start.offset on, in pieces of any size.
      start: Position() for the whole feed, or the `after` of a record.
      limit: of a longer record only the head is kept.

    Raises:
      FeedEncodingWrong, FeedEmpty: at the feed's beginning.
      FeedMalformed, FeedTruncated: behind the last whole record.
    """
    pieces = iter(chunks)
    if not start.form:
        start, rest = _opening(pieces)
        pieces = chain([rest], pieces)
    yield from (_lines if start.form == LINES else _array)(pieces, start, limit)


def _opening(pieces: Iterator[bytes]) -> tuple[Position, bytes]:
    """Find out what the feed is; return where its records begin and the bytes there that were read already."""
    data = b""
    while len(data) < _LONGEST_MARK and (piece := next(pieces, None)) is not None:
        data += piece
    _refuse_foreign(data)
    offset, line = 0, 0
    if data.startswith(_BOM):
        offset, data = len(_BOM), data[len(_BOM) :]
    while (found := _NOT_SPACE.search(data)) is None:
        offset, line = offset + len(data), line + data.count(b"\n")
        piece = next(pieces, None)
        if piece is None:
            raise FeedEmpty("the feed is empty", expected="at least one record", received=f"{offset} bytes, all blank")
        data = piece
    offset, line = offset + found.start(), line + data.count(b"\n", 0, found.start())
    data = data[found.start() :]
    if data[:1] == b"[":
        return Position(offset + 1, 0, ARRAY), data[1:]
    if data[:1] == b"<":
        raise FeedMalformed(
            "the feed is not JSON", expected="NDJSON or a JSON array", received=f"markup: {excerpt(data[:80])}"
        )
    return Position(offset, line, LINES), data


def _refuse_foreign(data: bytes) -> None:
    kind = next((kind for mark, kind in _FOREIGN.items() if data.startswith(mark)), None)
    if kind is None and b"\x00" in data[:_LONGEST_MARK]:
        kind = "UTF-16 or UTF-32 without a byte order mark, or binary data"
    if kind is not None:
        raise FeedEncodingWrong("the feed can't be read", expected="JSON in plain UTF-8", received=kind)


def _lines(chunks: Iterable[bytes], start: Position, limit: int) -> Iterator[Record]:
    offset, line = start.offset, start.line + 1
    pieces = _Pieces(limit)
    for chunk in chunks:
        at = 0
        while (stop := chunk.find(b"\n", at)) >= 0:
            pieces.add(chunk[at:stop])
            raw, size = pieces.take()
            after = Position(offset + size + 1, line, LINES)
            if size > len(raw) or raw.strip(_SPACE):
                _refuse_spread_out(raw, start)
                start = after
                yield Record(line, offset, raw, size, after)
            at, offset, line = stop + 1, after.offset, line + 1
        pieces.add(chunk[at:])
    raw, size = pieces.take()
    if size == len(raw) and not raw.strip(_SPACE):
        return
    ending = Value()
    if ending.end(raw.lstrip(_SPACE)) is None and ending.open and size == len(raw):
        raise _truncated(line, offset, raw)
    yield Record(line, offset, raw, size, Position(offset + size, line, LINES))


def _refuse_spread_out(raw: bytes, start: Position) -> None:
    """Refuse one object over several lines: each of its lines would be rejected, and none of that would help."""
    if raw.strip(_SPACE) == b"{" and start.form == LINES and start.line == 0:
        raise FeedMalformed(
            "the feed is not NDJSON",
            expected="one record a line, or a JSON array",
            received="an object over many lines",
        )


def _array(chunks: Iterable[bytes], start: Position, limit: int) -> Iterator[Record]:
    line, base, begin = start.line, start.offset, start.offset
    comma_due, closed = line > 0, False
    value: Value | None = None
    pieces = _Pieces(limit)
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            if value is None:
                found = _NOT_SPACE.search(chunk, at)
                if found is None:
                    break
                at, mark = found.end(), found.group()
                if closed or (mark != b"]" and (mark == b",") != comma_due) or mark in b"}:":
                    raise _malformed(line, base + found.start(), closed, comma_due, mark)
                closed = mark == b"]"
                if closed or comma_due:
                    comma_due = False
                    continue
                at, begin, value = found.start(), base + found.start(), Value()
            stop = value.end(chunk, at)
            pieces.add(chunk[at:stop])
            if stop is None:
                break
            at, line, value, comma_due = stop, line + 1, None, True
            yield Record(line, begin, *pieces.take(), Position(base + stop, line, ARRAY))
        base += len(chunk)
    if not closed:
        raise _truncated(line + 1, begin, pieces.take()[0])
    if line == 0:
        raise FeedEmpty("the feed is empty", expected="at least one record", received="an empty array")


def _malformed(line: int, offset: int, closed: bool, comma_due: bool, mark: bytes) -> FeedMalformed:
    expected = "nothing" if closed else "a comma or the end of the array" if comma_due else "a record"
    return FeedMalformed(
        f"the feed's array is broken behind record {line}, at byte {offset}",
        expected=expected,
        received=excerpt(mark),
    )


def _truncated(line: int, offset: int, raw: bytes) -> FeedTruncated:
    return FeedTruncated(
        f"the feed ends in the middle of record {line}, which begins at byte {offset}",
        expected="a whole record, and the end of the array if it is one",
        received=excerpt(raw[-80:]) or "nothing",
    )


def excerpt(raw: bytes) -> str:
    """Return bytes as text that is safe to show and to store."""
    return raw.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")
