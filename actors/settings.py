"""The site's own settings say where feeds lie and where its files go."""

from functools import cache
from pathlib import Path
from typing import ClassVar

from pydantic import AnyHttpUrl, Field

from workers.environment import Tree


class SiteSettings(Tree):
    """What the site's jobs can be told; each field says its unit."""

    prefix: ClassVar[str] = "SITE_"

    base_url: AnyHttpUrl = Field(AnyHttpUrl("https://example.com"), description="the site's address, for the sitemap")
    public_directory: Path = Field(Path("public"), description="where the sitemap is written")
    feeds_directory: Path = Field(Path("feeds"), description="where feeds lie; a feed's path never leads out of it")
    max_record_bytes: int = Field(1 << 20, ge=1024, le=1 << 26, description="a longer record is rejected")
    batch_records: int = Field(100, ge=1, le=5_000, description="records in one batch, at most")
    batch_bytes: int = Field(1 << 20, ge=1024, le=1 << 26, description="a batch ends with the record that reaches this")
    max_waiting_batches: int = Field(256, ge=1, description="reading pauses while so many batches wait to be imported")
    reading_seconds: int = Field(60, ge=1, le=100, description="how long one job reads before it hands on to the next")


@cache
def site_settings() -> SiteSettings:
    """Return the site's settings, read once a process."""
    return SiteSettings.load()
