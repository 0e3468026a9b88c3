import logging
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from workers import store
from workers.errors import ConfigurationError
from workers.store.engine import begin
from workers.store.migrate import Status, migrate, status
from workers.store.readiness import make_ready
from workers.store.tables import metadata

NEWEST = max(path.name[:4] for path in (Path(store.__file__).parent / "migrations/versions").glob("[0-9]*.py"))

FIRST = """
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.create_table("shop_orders", sa.Column("id", sa.Integer, primary_key=True))


def downgrade():
    op.drop_table("shop_orders")
"""

SECOND = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.create_table(
        "shop_lines",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("order_id", sa.Integer, sa.ForeignKey("shop_orders.id", ondelete="CASCADE")),
    )
    op.execute("INSERT INTO shop_orders (id) VALUES (1)")
    op.execute("INSERT INTO shop_lines (id, order_id) VALUES (1, 1)")


def downgrade():
    op.drop_table("shop_lines")
"""

THIRD = """
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    with op.batch_alter_table("shop_orders", recreate="auto") as batch:
        batch.alter_column("id", type_=sa.BigInteger, existing_type=sa.Integer)


def downgrade():
    pass
"""

BROKEN = """
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade():
    op.execute("CREATE TABLE shop_half (id INTEGER)")
    op.execute("INSERT INTO no_such_table VALUES (1)")


def downgrade():
    pass
"""

MIGRATE = """
import sys
from workers.store.engine import create_store_engine
from workers.store.migrate import migrate
engine = create_store_engine(sys.argv[1])
print("ready", flush=True)
input()
migrate(engine, package=None)
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A package of jobs that can't be imported, with migrations in it; add more by file name."""
    versions = tmp_path / "shop" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").write_text("raise RuntimeError('importing jobs connects to a broker')")
    monkeypatch.syspath_prepend(tmp_path)

    def add(name, script):
        (versions / name).write_text(script)

    add("0001_orders.py", FIRST)
    return add


def table_names(engine):
    with engine.connect() as connection:
        return set(inspect(connection).get_table_names())


def count(engine, table):
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()


def test_the_migrations_create_what_the_tables_say(engine):
    with engine.connect() as connection:
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _parents: kind != "table" or not name.endswith("alembic_version"),
        }
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []


def test_a_second_run_changes_nothing(engine):
    before = table_names(engine)
    migrate(engine, package=None)
    assert table_names(engine) == before == {*metadata.tables, "dutiful_alembic_version"}


def test_the_status_of_an_empty_store_is_told_without_changing_it(empty_engine, shop):
    assert status(empty_engine, "shop") == [
        Status("dutiful", None, NEWEST, is_behind=True),
        Status("shop", None, "0001", is_behind=True),
    ]
    assert table_names(empty_engine) == set()


def test_a_package_of_jobs_is_migrated_without_being_imported(empty_engine, shop):
    migrate(empty_engine, "shop")
    assert {"shop_orders", "shop_alembic_version", "dutiful_keys"} <= table_names(empty_engine)
    shop("0002_lines.py", SECOND)
    assert status(empty_engine, "shop")[1] == Status("shop", "0001", "0002", is_behind=True)
    migrate(empty_engine, "shop")
    assert status(empty_engine, "shop")[1] == Status("shop", "0002", "0002")
    assert "shop" not in sys.modules


def test_a_package_without_migrations_has_none(empty_engine, tmp_path, monkeypatch):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    migrate(empty_engine, "plain")
    assert [each.name for each in status(empty_engine, "plain")] == ["dutiful"]


@pytest.mark.parametrize("package", ["no_such_package", "no.such.package", "json.decoder", ""])
def test_a_package_that_is_not_there_is_an_error(empty_engine, package):
    with pytest.raises(ConfigurationError, match="package that Python can import"):
        migrate(empty_engine, package)


def test_altering_a_table_keeps_the_rows_that_refer_to_it(empty_engine, shop):
    shop("0002_lines.py", SECOND)
    shop("0003_wider.py", THIRD)
    migrate(empty_engine, "shop")
    assert (count(empty_engine, "shop_orders"), count(empty_engine, "shop_lines")) == (1, 1)


def test_a_migration_that_fails_leaves_nothing_half_done(empty_engine, shop):
    shop("0002_lines.py", SECOND)
    shop("0003_wider.py", THIRD)
    shop("0004_broken.py", BROKEN)
    with pytest.raises(Exception, match="no_such_table"):
        migrate(empty_engine, "shop")
    assert not {"shop_half", "shop_orders"} & table_names(empty_engine)
    assert status(empty_engine, "shop")[1].current is None
    assert status(empty_engine, "shop")[0].current == NEWEST


def test_a_schema_newer_than_this_release_is_left_alone(engine, caplog):
    with begin(engine) as connection:
        connection.execute(text("UPDATE dutiful_alembic_version SET version_num = '9999'"))
    migrate(engine, package=None)
    assert "9999" in caplog.text
    assert status(engine, None) == [Status("dutiful", "9999", NEWEST)]


def test_a_store_that_is_behind_is_brought_up_to_date_or_refused(empty_engine, shop):
    migrate(empty_engine, "shop")
    shop("0002_lines.py", SECOND)

    if empty_engine.dialect.name == "sqlite":
        make_ready(empty_engine, ["shop"])
    else:
        with pytest.raises(ConfigurationError, match=r"behind.*dutiful store migrate shop.*0001, newest 0002"):
            make_ready(empty_engine, ["shop"])
        migrate(empty_engine, "shop")
    make_ready(empty_engine, ["shop"])

    assert status(empty_engine, "shop")[1].current == "0002"


def test_a_release_that_a_migration_has_shut_out_is_refused_and_any_other_is_not(empty_engine, shop, tmp_path):
    shop("0002_lines.py", SECOND)
    shop("0003_wider.py", THIRD + '\nminimum = "0002"\n')
    migrate(empty_engine, "shop")
    make_ready(empty_engine, ["shop"])

    versions = tmp_path / "shop" / "migrations" / "versions"
    (versions / "0003_wider.py").unlink()
    make_ready(empty_engine, ["shop"])  # the release before knows 0002

    (versions / "0002_lines.py").unlink()
    with pytest.raises(ConfigurationError, match=r"too old.*revision 0002.*knows 0001"):
        make_ready(empty_engine, ["shop"])


def test_migrating_leaves_logging_as_it_is(empty_engine):
    root, alembic = logging.getLogger(), logging.getLogger("alembic")
    before = (root.level, list(root.handlers), alembic.level, list(alembic.handlers), alembic.disabled)
    migrate(empty_engine, package=None)
    assert before == (root.level, list(root.handlers), alembic.level, list(alembic.handlers), alembic.disabled)


def test_processes_that_migrate_at_once_all_succeed(empty_engine):
    command = [sys.executable, "-c", MIGRATE, empty_engine.url.render_as_string(hide_password=False)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        assert child.communicate(timeout=60)[1] == ""
        assert child.returncode == 0
    assert status(empty_engine, None) == [Status("dutiful", NEWEST, NEWEST)]
