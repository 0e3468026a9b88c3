"""The second migration adds the audit trail and the store's identity."""
# ruff: noqa: INP001  Alembic reads this folder by its path, not as a package

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create both; the identity is drawn here, once, under the lock of the migrations."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "dutiful_audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", time, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("actor", sa.Text),
        sa.Column("key", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("dutiful_audit_target", "dutiful_audit", ["actor", "key"])
    identity = op.create_table(
        "dutiful_store",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("made_at", time, nullable=False),
    )
    here = datetime.now(UTC)
    if op.get_bind().dialect.name == "sqlite":
        here = here.replace(tzinfo=None)  # it has no time zones; tables.UtcDateTime reads it as UTC
    op.bulk_insert(identity, [{"id": str(uuid.uuid4()), "made_at": here}])


def downgrade() -> None:
    """Drop both."""
    for table in ("dutiful_store", "dutiful_audit"):
        op.drop_table(table)
