import pytest
from sqlalchemy import text

from workers.errors import StoreError
from workers.store.engine import begin
from workers.store.migrate import migrate, status

ORPHAN = """
from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.execute("CREATE TABLE mothers (id INTEGER PRIMARY KEY)")
    op.execute("CREATE TABLE children (id INTEGER PRIMARY KEY, mother INTEGER REFERENCES mothers (id))")
    op.execute("INSERT INTO children VALUES (1, 99)")


def downgrade():
    pass
"""


def test_a_migration_that_breaks_references_is_undone(empty_engine, tmp_path, monkeypatch):
    versions = tmp_path / "nursery" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "nursery" / "__init__.py").touch()
    (versions / "0001_orphan.py").write_text(ORPHAN)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StoreError, match="children"):
        migrate(empty_engine, "nursery")
    assert status(empty_engine, "nursery")[1].current is None


def test_foreign_keys_are_on_again_after_a_migration(engine):
    with begin(engine) as connection:
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
