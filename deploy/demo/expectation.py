"""Says what an import of a generated feed must leave behind."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from deploy.demo.articles import Post


class ExpectedPost(NamedTuple):
    """A post that must be in the database once, in this version."""

    source_id: str
    slug: str
    version: int
    published: bool


class ExpectedRejection(NamedTuple):
    """A line that must be rejected, because of this field (empty: the record as a whole)."""

    line: int
    field: str


Expected = ExpectedPost | ExpectedRejection


def expected_post(post: Post) -> ExpectedPost:
    """Return what must be in the database if this is a post's highest version."""
    published = post["revision"]["status"] == "published" and not post["flags"]["needs_human_review"]
    return ExpectedPost(post["source_id"], post["slug"], post["revision"]["version"], published)


class ExpectationFile:
    """Writes expectations to a file, an object a line, so that they need no memory either."""

    def __init__(self, path: Path) -> None:
        self.lines = path.open("w", encoding="utf-8")
        self.posts = self.rejections = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lines.close()

    def add(self, expected: Expected) -> None:
        """Write one expectation."""
        is_post = isinstance(expected, ExpectedPost)
        self.posts += is_post
        self.rejections += not is_post
        self.lines.write(json.dumps({"post" if is_post else "rejection": expected._asdict()}) + "\n")


def read_expectation(path: Path) -> Iterator[Expected]:
    """Yield what an ExpectationFile was given."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            for kind, fields in json.loads(line).items():
                yield (ExpectedPost if kind == "post" else ExpectedRejection)(**fields)
