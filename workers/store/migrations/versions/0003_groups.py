"""The third migration adds groups, and what a job that goes on in another attempt has to know."""
# ruff: noqa: INP001  Alembic reads this folder by its path, not as a package

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add two tables and a column."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "dutiful_groups",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("expected", sa.Integer, nullable=False),
        sa.Column("counted", sa.Integer, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("callbacks", sa.Text, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("completed_at", time),
    )
    op.create_table(
        "dutiful_group_members",
        sa.Column("group_id", sa.Text, primary_key=True),
        sa.Column("member_id", sa.Text, primary_key=True),
    )
    op.add_column("dutiful_keys", sa.Column("checkpoint", sa.Text))


def downgrade() -> None:
    """Drop them, and what they remember."""
    with op.batch_alter_table("dutiful_keys") as keys:
        keys.drop_column("checkpoint")
    for table in ("dutiful_group_members", "dutiful_groups"):
        op.drop_table(table)
