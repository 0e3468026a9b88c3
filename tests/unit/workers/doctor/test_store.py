"""What the doctor says about the store's tables."""

from sqlalchemy import insert

from workers.doctor import store
from workers.store import tables
from workers.store.engine import begin, create_store_engine
from workers.store.migrate import migrate


def test_a_store_that_is_away_is_wrong():
    engine = create_store_engine("postgresql+psycopg://u:p@127.0.0.1:9/x")

    (line,), identity = store.schema(engine, ())

    assert identity is None
    assert line.what == "the store's schema could not be read"
    assert line.mend == "start it, or set DUTIFUL_STORE__URL"


def test_tables_that_need_a_newer_release_are_wrong(tmp_path):
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")
    migrate(engine, None)
    lines, identity = store.schema(engine, ())
    assert (lines[0].verdict, bool(identity)) == ("ok", True)
    with begin(engine) as connection:
        connection.execute(insert(tables.schema_minimums).values(name="dutiful", revision="9999"))

    (line,), identity = store.schema(engine, ())
    engine.dispose()

    assert identity is None
    assert line.what == "this release is too old for the tables of dutiful"
    assert line.expected == "a release that knows revision 9999"
    assert line.mend == "deploy a newer release"
