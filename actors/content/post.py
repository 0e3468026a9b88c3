"""The post says what a record of the feed must look like, and what of it is stored.

Text is kept as the text that it is. A title may hold `<T>` or even `<script>`: nothing is stripped or escaped here, and
nothing here says that it is safe. Whoever renders it escapes it, and cleans the HTML that markdown may contain.
"""

import hashlib
import json
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from actors.content.meta import Entry, as_entries, as_text
from actors.content.parsing import HIGHEST_VERSION, LONGEST_ID
from actors.content.rejection import Rejection, rejection

MOST_REJECTIONS = 20  # of one record: the rest would say nothing new
REVIEW_FLAGS = {"needs_human_review", "needs_review", "human_review", "review_needed"}
_NO = {"", "no", "false", "0", "off", "none"}


def _moment(value: Any) -> Any:
    """Read an ISO 8601 date or time; a number could mean seconds or milliseconds, so it means nothing."""
    if not isinstance(value, str):
        raise ValueError("an ISO 8601 date or time")  # noqa: TRY004  pydantic turns only ValueError into a rejection
    try:
        moment = datetime.fromisoformat(value) if len(value) > len("2026-01-01") else None
        if moment is None:
            moment = datetime.combine(date.fromisoformat(value), time())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        raise ValueError("an ISO 8601 date or time") from None


def text(longest: int, shortest: int = 1, pattern: str | None = None) -> StringConstraints:
    """Return the rule for a text without white space around it."""
    return StringConstraints(
        strict=True, strip_whitespace=True, min_length=shortest, max_length=longest, pattern=pattern
    )


def count(most: int) -> Any:
    """Return the rule for a whole number from 0."""
    return Field(strict=True, ge=0, le=most)


Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Meta = Annotated[list[Any], BeforeValidator(as_entries)]
Name = Annotated[str, text(LONGEST_ID, pattern=r"^[^\x00-\x1f\x7f]+$")]
# Whatever can stand in the path of a URL as one segment, in any script.
Slug = Annotated[str, text(200, pattern=r"^[^\s/?#%\\<>\"'&{}|^`.\x00-\x1f\x7f][^\s/?#%\\<>\"'&{}|^`\x00-\x1f\x7f]*$")]
Link = Annotated[str, text(2000, pattern=r"^https?://[^\s<>\"]+$")]


class Part(BaseModel):
    """A part of a record; what a newer source adds to it is left aside."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Score(Part):
    """How good the source thinks the post is, from 0 to 1."""

    quality: Share
    freshness: Share
    depth: Share
    clarity: Share


class Revision(Part):
    """Which version of the post this is."""

    status: Name
    version: Annotated[int, count(HIGHEST_VERSION)]
    last_reviewed: Annotated[datetime, BeforeValidator(_moment)]


class ImageSource(Part):
    """Where a picture comes from."""

    source: Annotated[str, text(500)]
    url: Link
    caption: Annotated[str, text(2000, shortest=0)] = ""


class Post(Part):
    """A post as the feed sends it."""

    source_id: Name
    title: Annotated[str, text(500)]
    slug: Slug
    topic: Name
    summary: Annotated[str, text(5000, shortest=0)]
    # White space at its beginning means something in markdown; how long it may be, the record's size says.
    body: Annotated[str, StringConstraints(strict=True, pattern=r"\S")]
    stack: Meta = []
    tools: Meta = []
    code_language: Annotated[str, text(100, shortest=0)] | None = None
    difficulty: Literal["beginner", "intermediate", "advanced"]
    reading_time: Annotated[int, count(100_000)]
    view_count: Annotated[int, count(2**63 - 1)]
    score: Score
    revision: Revision
    reference: Annotated[str, text(2000, shortest=0)] | None = None
    hash: Annotated[str, text(200)]
    flags: Meta = []
    checklist: Meta = []
    entities: Meta = []
    image_sources: Annotated[list[ImageSource], Field(max_length=200)] = []
    payload: Meta = []
    notes: Meta = []

    @classmethod
    def read(cls, record: dict[str, Any]) -> Self | list[Rejection]:
        """Return the post of a record, or everything that is wrong with it."""
        try:
            return cls.model_validate(record)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False)
            return [_rejection(problem) for problem in found[:MOST_REJECTIONS]]

    @property
    def published(self) -> bool:
        """Whether readers may see it: its source calls it published, and no flag asks for a person's eyes first."""
        return self.revision.status.casefold() == "published" and not needs_review(self.flags)

    def row(self) -> dict[str, Any]:
        """Return what is stored: a function of the record alone, so that importing it again changes nothing."""
        fields = self.model_dump(exclude={"revision", "score"})
        row = {
            **fields,
            **{f"score_{name}": value for name, value in self.score},
            "status": self.revision.status,
            "version": self.revision.version,
            "last_modified": self.revision.last_reviewed,
            "published": self.published,
        }
        return {**row, "digest": digest(row)}


def needs_review(flags: list[Entry]) -> bool:
    """Say whether a person must look first. A flag that is set to anything but a plain no counts as set."""
    for entry in flags:
        label, value = (entry, "yes") if isinstance(entry, str) else (entry["label"], entry["value"])
        if label.casefold().replace("-", "_").replace(" ", "_") in REVIEW_FLAGS and value.casefold() not in _NO:
            return True
    return False


def digest(row: dict[str, Any]) -> str:
    """Return what tells two contents of one version apart."""
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _rejection(problem: ErrorDetails) -> Rejection:
    missing = problem["type"] == "missing"
    field = ".".join(str(part) for part in problem["loc"])
    expected = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = "nothing" if missing else json.dumps(value, ensure_ascii=False, default=as_text)
    return rejection(field, "a value" if missing else expected, shown)
