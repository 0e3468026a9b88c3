"""The first migration creates the tables of the import."""
# ruff: noqa: INP001  Alembic reads this folder by its path, not as a package

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all of them."""
    _create_posts()
    _create_feeds()
    op.create_table(
        "rejections",
        sa.Column("source", sa.String(500), primary_key=True),
        sa.Column("line", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("source_id", sa.String(200), primary_key=True),
        sa.Column("field", sa.String(100), primary_key=True),
        sa.Column("version", sa.Integer),
        sa.Column("feed_id", sa.Integer, sa.ForeignKey("feeds.id"), nullable=False),
        sa.Column("expected", sa.String(200), nullable=False),
        sa.Column("received", sa.String(200), nullable=False),
        sa.Column("safe_to_retry", sa.Boolean, nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
    )
    op.create_index("rejections_source_id", "rejections", ["source_id"])
    op.create_index("rejections_open", "rejections", ["closed_at"])


def _create_posts() -> None:
    lists = ("stack", "tools", "flags", "checklist", "entities", "image_sources", "payload", "notes")
    scores = ("score_quality", "score_freshness", "score_depth", "score_clarity")
    op.create_table(
        "posts",
        sa.Column("source_id", sa.String(200), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("published", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("slug", sa.String(200), nullable=False),
        sa.Column("last_modified", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(200), nullable=False),
        sa.Column("title", sa.String(500), nullable=False),
        sa.Column("topic", sa.String(200), nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("code_language", sa.String(100)),
        sa.Column("difficulty", sa.String(20), nullable=False),
        sa.Column("reading_time", sa.Integer, nullable=False),
        sa.Column("view_count", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Float, nullable=False) for name in scores),
        sa.Column("reference", sa.String(2000)),
        sa.Column("hash", sa.String(200), nullable=False),
        *(sa.Column(name, sa.JSON, nullable=False) for name in lists),
    )
    op.create_index("posts_slug", "posts", ["slug"])


def _create_feeds() -> None:
    zero = sa.text("0")
    op.create_table(
        "feeds",
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("job", sa.String(255), nullable=False, unique=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("source", sa.String(500), nullable=False),
        sa.Column("identity", sa.Text, nullable=False, server_default=""),
        sa.Column("state", sa.String(10), nullable=False, server_default="reading"),
        sa.Column("error", sa.Text, nullable=False, server_default=""),
        sa.Column("form", sa.String(10), nullable=False, server_default=""),
        sa.Column("next_offset", sa.BigInteger, nullable=False, server_default=zero),
        sa.Column("next_line", sa.BigInteger, nullable=False, server_default=zero),
        sa.Column("next_batch", sa.Integer, nullable=False, server_default=zero),
        sa.Column("batches_done", sa.Integer, nullable=False, server_default=zero),
        *(
            sa.Column(name, sa.BigInteger, nullable=False, server_default=zero)
            for name in ("imported", "unchanged", "conflicting", "rejected")
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "feed_batches",
        sa.Column("feed_id", sa.Integer, sa.ForeignKey("feeds.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("first_line", sa.BigInteger, nullable=False),
        sa.Column("last_line", sa.BigInteger, nullable=False),
        sa.Column("first_offset", sa.BigInteger, nullable=False),
        sa.Column("end_offset", sa.BigInteger, nullable=False),
        sa.Column("payload", sa.LargeBinary),
        sa.Column("done", sa.Boolean, nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    """Drop all of them."""
    for table in ("rejections", "feed_batches", "feeds", "posts"):
        op.drop_table(table)
