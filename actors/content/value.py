"""Finds the end of a JSON value, without knowing what is in it."""

import re

_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
# Everything up to the next bracket, whole strings included; it also stops at a string that this piece cuts.
_TO_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+', re.DOTALL)
_SCALAR_END = re.compile(rb"[,\]\s]")


class Value:
    """Follows one JSON value through pieces of text and knows where it ends.

    Brackets are counted, not matched, so this costs no memory however deep they go.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.deepest = 0
        self._string = self._escaped = self._scalar = False
        self._begun = False

    @property
    def open(self) -> bool:
        """Whether the text so far stops inside a string, a list or a map."""
        return self._string or self.depth > 0

    def end(self, data: bytes, start: int = 0) -> int | None:
        """Return the index behind the value's last byte; None when the value goes on behind this text."""
        at = start
        if not self._begun and at < len(data):
            self._begun = True
            self._scalar = data[at] not in b'"{['
        if self._scalar:
            found = _SCALAR_END.search(data, at)
            return found.start() if found else None
        while at < len(data):
            if self._string:
                at = self._through_string(data, at)
                if not self.open:
                    return at
                continue
            if self.depth > 0:
                at = _TO_BRACKET.match(data, at).end()  # type: ignore[union-attr]  # it matches the empty text too
                if at == len(data):
                    return None
            at += 1
            if self._met(data[at - 1]):
                return at
        return None

    def _met(self, byte: int) -> bool:
        """Note a quote or a bracket; True when it closes the value."""
        if byte == ord('"'):
            self._string = True
        elif byte in b"{[":
            self.depth += 1
            self.deepest = max(self.deepest, self.depth)
        else:
            self.depth -= 1
            return self.depth <= 0
        return False

    def _through_string(self, data: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            at += 1
        stop = _IN_STRING.match(data, at).end()  # type: ignore[union-attr]  # it matches the empty text too
        if stop == len(data):
            return stop
        if data[stop] == ord("\\"):  # the last byte of this piece; what it escapes comes with the next
            self._escaped = True
        else:
            self._string = False
        return stop + 1
