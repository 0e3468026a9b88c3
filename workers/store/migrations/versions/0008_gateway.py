"""The eighth migration adds what the HTTP gateway remembers: tokens, and the requests that came with a key."""
# ruff: noqa: INP001  Alembic reads this folder by its path, not as a package

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create both. Releases before this one know neither, and go on."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "dutiful_tokens",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("actors", sa.Text, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("revoked_at", time),
    )
    op.create_table(
        "dutiful_requests",
        sa.Column("token", sa.Text, primary_key=True),
        sa.Column("idempotency_key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("created_at", time, nullable=False),
        sa.Column("claimed_until", time, nullable=False),
        sa.Column("answer", sa.Text),
    )
    op.create_index("dutiful_requests_message", "dutiful_requests", ["message_id"])
    op.create_index("dutiful_requests_created", "dutiful_requests", ["created_at"])


def downgrade() -> None:
    """Drop both: nobody gets in, and a repeated request is published again, under the same id."""
    op.drop_table("dutiful_requests")
    op.drop_table("dutiful_tokens")
