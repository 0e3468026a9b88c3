"""The fifth migration lets migrations say which releases can work with them."""
# ruff: noqa: INP001  Alembic reads this folder by its path, not as a package

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "dutiful_schema_minimums",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("revision", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("dutiful_schema_minimums")
