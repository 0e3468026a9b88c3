"""The seventh migration lets a process say that it stops, so that no job is blamed for its end."""
# ruff: noqa: INP001  Alembic reads this folder by its path, not as a package

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add a column."""
    op.add_column("dutiful_holders", sa.Column("stopping", sa.Boolean))


def downgrade() -> None:
    """Drop it."""
    with op.batch_alter_table("dutiful_holders") as holders:
        holders.drop_column("stopping")
