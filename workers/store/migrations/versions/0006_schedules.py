"""The sixth migration adds what became of a tick, and pauses."""
# ruff: noqa: INP001  Alembic reads this folder by its path, not as a package

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_TICKS = ("kind", "actor", "key", "started_at", "ended_at", "outcome")


def upgrade() -> None:
    """Add six columns and a table. Schedulers of the release before go on: they fill none of the columns."""
    time = sa.DateTime(timezone=True)
    op.add_column("dutiful_ticks", sa.Column("kind", sa.Text, nullable=False, server_default="scheduled"))
    op.add_column("dutiful_ticks", sa.Column("actor", sa.Text))
    op.add_column("dutiful_ticks", sa.Column("key", sa.Text))
    op.add_column("dutiful_ticks", sa.Column("started_at", time))
    op.add_column("dutiful_ticks", sa.Column("ended_at", time))
    op.add_column("dutiful_ticks", sa.Column("outcome", sa.Text))
    op.create_index("dutiful_ticks_open", "dutiful_ticks", ["ended_at", "schedule"])
    # Whose job that was is not on record: nobody waits for its end.
    op.execute("UPDATE dutiful_ticks SET ended_at = published_at, outcome = 'unknown' WHERE published_at IS NOT NULL")
    op.create_table(
        "dutiful_pauses",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("since", time, nullable=False),
        sa.Column("until", time),
    )


def downgrade() -> None:
    """Drop them; what is paused goes on."""
    op.drop_table("dutiful_pauses")
    op.drop_index("dutiful_ticks_open", "dutiful_ticks")
    with op.batch_alter_table("dutiful_ticks") as ticks:
        for column in _TICKS:
            ticks.drop_column(column)
