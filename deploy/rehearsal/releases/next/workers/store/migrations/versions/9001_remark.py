"""Adds a column to the runtime's own table, as a next release of the runtime may."""
# ruff: noqa: INP001, D103  Alembic reads this folder by its path

import sqlalchemy as sa
from alembic import op

revision = "9001"
down_revision = "HEAD"


def upgrade() -> None:
    op.add_column("dutiful_keys", sa.Column("remark", sa.Text))
