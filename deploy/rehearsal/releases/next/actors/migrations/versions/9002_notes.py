"""Adds what the next release writes, and takes nothing away: the release before goes on working."""
# ruff: noqa: INP001, D103  Alembic reads this folder by its path

import sqlalchemy as sa
from alembic import op

revision = "9002"
down_revision = "9001"


def upgrade() -> None:
    op.add_column("rehearsal_entries", sa.Column("note", sa.Text, nullable=False, server_default=""))
