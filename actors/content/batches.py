"""A batch is a run of records on its way from the reader to the database."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from actors.content.splitting import Position, Record

_HEADER = struct.Struct(">QQI")  # line, size in the feed, bytes that follow


class Item(NamedTuple):
    """A record as its batch carries it; `raw` is only the head of one that is too long."""

    line: int
    size: int
    raw: bytes


class Batch(NamedTuple):
    """Records that are imported together.

    Attributes:
      number: its place in the feed, from 0.
      records: what it holds.
    """

    number: int
    records: list[Record]

    @property
    def after(self) -> Position:
        """Where reading goes on behind it."""
        return self.records[-1].after


def batched(records: Iterable[Record], most_records: int, most_bytes: int) -> Iterator[list[Record]]:
    """Yield the records in groups; when reading fails in the middle, the records before come first, then the error."""
    group: list[Record] = []
    size = 0
    try:
        for record in records:
            group.append(record)
            size += len(record.raw)
            if len(group) == most_records or size >= most_bytes:
                yield group
                group, size = [], 0
    except Exception as error:
        if group and getattr(error, "keeps_records", True):
            yield group
        raise
    if group:
        yield group


def packed(records: Iterable[Record]) -> bytes:
    """Return records as bytes for the database."""
    frames = b"".join(_HEADER.pack(record.line, record.size, len(record.raw)) + record.raw for record in records)
    return zlib.compress(frames, 1)


def unpacked(payload: bytes) -> Iterator[Item]:
    """Yield what `packed` packed."""
    frames = zlib.decompress(payload)
    at = 0
    while at < len(frames):
        line, size, length = _HEADER.unpack_from(frames, at)
        at += _HEADER.size
        yield Item(line, size, frames[at : at + length])
        at += length
