"""Breaks: it names a column that is not there, after it has changed something that must be undone."""
# ruff: noqa: INP001, D103  Alembic reads this folder by its path

import sqlalchemy as sa
from alembic import op

revision = "9003"
down_revision = "9002"


def upgrade() -> None:
    op.add_column("rehearsal_entries", sa.Column("half", sa.Text))
    op.drop_column("rehearsal_entries", "never_there")
