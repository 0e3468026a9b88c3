"""The fourth migration adds the publishers' outbox, and turns."""
# ruff: noqa: INP001  Alembic reads this folder by its path, not as a package

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create both."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "dutiful_publisher_outbox",
        sa.Column("message_id", sa.Text, primary_key=True),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("headers", sa.Text),
        sa.Column("delay_ms", sa.BigInteger),
        sa.Column("created_at", time, nullable=False, server_default=sa.func.now()),
        sa.Column("claimed_until", time),
        sa.Column("error", sa.Text),
    )
    op.create_index("dutiful_publisher_outbox_waiting", "dutiful_publisher_outbox", ["error", "created_at"])
    op.create_table(
        "dutiful_turns",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("expires_at", time, nullable=False),
    )


def downgrade() -> None:
    """Drop both, and the messages that wait."""
    op.drop_table("dutiful_turns")
    op.drop_table("dutiful_publisher_outbox")
