from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from workers.store.engine import create_store_engine
from workers.store.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from actors.settings import SiteSettings


@pytest.fixture
def engine(tmp_path) -> Iterator[Engine]:
    """A store of its own, migrated."""
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")
    migrate(engine, "actors")
    yield engine
    engine.dispose()


@pytest.fixture
def site(tmp_path) -> SiteSettings:
    """Small batches, and feeds in a folder of the test's own."""
    from actors.settings import SiteSettings  # noqa: PLC0415  this file is read before the broker may be chosen

    feeds = tmp_path / "feeds"
    feeds.mkdir()
    return SiteSettings(feeds_directory=feeds, public_directory=tmp_path / "public", batch_records=3)


@pytest.fixture
def record():
    """Builds the record of a post; what is given replaces what it would say."""

    def build(number: int = 1, version: int = 1, **other) -> dict:
        return {
            "source_id": f"post-{number}",
            "title": f"Post {number}, version {version}",
            "slug": f"post-{number}",
            "topic": "testing",
            "summary": "In short.",
            "body": "# Heading\n\nText.",
            "difficulty": "beginner",
            "reading_time": 3,
            "view_count": 100,
            "score": {"quality": 0.9, "freshness": 0.5, "depth": 1, "clarity": 0.0},
            "revision": {"status": "published", "version": version, "last_reviewed": "2026-03-01"},
            "hash": "abc",
            "flags": {"needs_human_review": False},
        } | other

    return build
