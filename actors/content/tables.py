"""The tables that the import writes."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData()

# A row is a function of the record it came from. No clock and no counter: importing again changes nothing.
posts = Table(
    "posts",
    metadata,
    Column("source_id", String(200), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("published", Boolean, nullable=False, server_default=false()),
    Column("slug", String(200), nullable=False),
    Column("last_modified", DateTime(timezone=True), nullable=False),
    Column("status", String(200), nullable=False),
    Column("title", String(500), nullable=False),
    Column("topic", String(200), nullable=False),
    Column("summary", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("stack", JSON, nullable=False),
    Column("tools", JSON, nullable=False),
    Column("code_language", String(100)),
    Column("difficulty", String(20), nullable=False),
    Column("reading_time", Integer, nullable=False),
    Column("view_count", BigInteger, nullable=False),
    Column("score_quality", Float, nullable=False),
    Column("score_freshness", Float, nullable=False),
    Column("score_depth", Float, nullable=False),
    Column("score_clarity", Float, nullable=False),
    Column("reference", String(2000)),
    Column("hash", String(200), nullable=False),
    Column("flags", JSON, nullable=False),
    Column("checklist", JSON, nullable=False),
    Column("entities", JSON, nullable=False),
    Column("image_sources", JSON, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("notes", JSON, nullable=False),
    # Not unique: two posts with one slug are an editor's problem, and no reason to lose one of them.
    Index("posts_slug", "slug"),
)

# One row an import run. next_* is the checkpoint: where reading goes on.
feeds = Table(
    "feeds",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("job", String(255), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("source", String(500), nullable=False),
    Column("identity", Text, nullable=False, server_default=""),
    Column("state", String(10), nullable=False, server_default="reading"),
    Column("error", Text, nullable=False, server_default=""),
    Column("form", String(10), nullable=False, server_default=""),
    Column("next_offset", BigInteger, nullable=False, server_default=text("0")),
    Column("next_line", BigInteger, nullable=False, server_default=text("0")),
    Column("next_batch", Integer, nullable=False, server_default=text("0")),
    Column("batches_done", Integer, nullable=False, server_default=text("0")),
    Column("imported", BigInteger, nullable=False, server_default=text("0")),
    Column("unchanged", BigInteger, nullable=False, server_default=text("0")),
    Column("conflicting", BigInteger, nullable=False, server_default=text("0")),
    Column("rejected", BigInteger, nullable=False, server_default=text("0")),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("finished_at", DateTime(timezone=True)),
)

feed_batches = Table(
    "feed_batches",
    metadata,
    Column("feed_id", Integer, ForeignKey("feeds.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("first_line", BigInteger, nullable=False),
    Column("last_line", BigInteger, nullable=False),
    Column("first_offset", BigInteger, nullable=False),
    Column("end_offset", BigInteger, nullable=False),
    Column("payload", LargeBinary),  # dropped when the batch is done
    Column("done", Boolean, nullable=False, server_default=false()),
)

# Everything that is wrong with a record, one row a field. source_id is empty where the record doesn't say it readably.
rejections = Table(
    "rejections",
    metadata,
    Column("source", String(500), primary_key=True),
    Column("line", BigInteger, primary_key=True, autoincrement=False),
    Column("source_id", String(200), primary_key=True),
    Column("field", String(100), primary_key=True),
    Column("version", Integer),
    Column("feed_id", Integer, ForeignKey("feeds.id"), nullable=False),
    Column("expected", String(200), nullable=False),
    Column("received", String(200), nullable=False),
    Column("safe_to_retry", Boolean, nullable=False),
    Column("closed_at", DateTime(timezone=True)),
    Index("rejections_source_id", "source_id"),
    Index("rejections_open", "closed_at"),
)
