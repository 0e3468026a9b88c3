"""The store's tests run on SQLite here; tests/integration/test_store_postgres.py runs the same on PostgreSQL."""

import pytest

from workers.store.engine import create_store_engine
from workers.store.migrate import migrate


@pytest.fixture
def empty_engine(tmp_path):
    """A store before its first migration."""
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")
    yield engine
    engine.dispose()


@pytest.fixture
def engine(empty_engine):
    migrate(empty_engine, package=None)
    return empty_engine
