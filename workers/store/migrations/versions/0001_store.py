"""The first migration creates the store's tables."""
# ruff: noqa: INP001  Alembic reads this folder by its path, not as a package

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all of them."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "dutiful_keys",
        sa.Column("actor", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("arguments_hash", sa.Text),
        sa.Column("message_id", sa.Text),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
    )
    op.create_index("dutiful_keys_state", "dutiful_keys", ["state", "updated_at"])
    op.create_table(
        "dutiful_holders",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("pid_started", sa.Text, nullable=False),
        sa.Column("beat_at", time, nullable=False),
        sa.Column("expires_at", time, nullable=False),
    )
    op.create_table(
        "dutiful_outbox",
        sa.Column("message_id", sa.Text, primary_key=True),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("delay_ms", sa.BigInteger),
        sa.Column("created_at", time, nullable=False),
    )
    op.create_index("dutiful_outbox_parent", "dutiful_outbox", ["actor", "key", "position"])
    op.create_table(
        "dutiful_ticks",
        sa.Column("schedule", sa.Text, primary_key=True),
        sa.Column("due_at", time, primary_key=True),
        sa.Column("recorded_at", time, nullable=False),
        sa.Column("published_at", time),
        sa.Column("message_id", sa.Text, nullable=False),
    )
    op.create_table(
        "dutiful_schedules",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("first_seen_at", time, nullable=False),
    )


def downgrade() -> None:
    """Drop all of them, and what they remember."""
    for table in ("dutiful_schedules", "dutiful_ticks", "dutiful_outbox", "dutiful_holders", "dutiful_keys"):
        op.drop_table(table)
