"""A line says how one check ended: fine, wrong, or that it could not be answered."""

from dataclasses import dataclass
from typing import Literal

from workers.errors import DutifulError

Verdict = Literal["ok", "wrong", "unknown"]


@dataclass(frozen=True, slots=True)
class Line:
    """What one check says.

    Attributes:
      check: its name.
      verdict: ok; wrong: mend it before there is traffic; unknown: nobody could tell, which is no ok.
      what: what is so.
      expected, received: where it is not as it should be.
      mend: a line for a shell, which mends it. What a person must decide or do is behind #; capitals are to be
        filled in.
    """

    check: str
    verdict: Verdict
    what: str
    expected: str = ""
    received: str = ""
    mend: str = ""


def ok(check: str, what: str) -> list[Line]:
    """It is as it must be."""
    return [Line(check, "ok", what)]


def wrong(check: str, what: str, *, expected: str, received: str, mend: str) -> Line:
    """It must be mended."""
    return Line(check, "wrong", what, expected, received, mend)


def unknown(check: str, what: str, *, mend: str) -> list[Line]:
    """It could not be looked at."""
    return [Line(check, "unknown", what, mend=mend)]


def refused(check: str, error: DutifulError, *, mend: str) -> Line:
    """What an error says."""
    return Line(check, "wrong", error.what, error.expected, error.received, mend)
