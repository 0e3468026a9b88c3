"""Adds the table that the rehearsal's jobs write to; what stands for the head is filled in."""
# ruff: noqa: INP001, D103  Alembic reads this folder by its path

import sqlalchemy as sa
from alembic import op

revision = "9001"
down_revision = "HEAD"


def upgrade() -> None:
    op.create_table(
        "rehearsal_entries",
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("sent", sa.Double, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
