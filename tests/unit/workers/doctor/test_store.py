"""What the doctor says about the store's tables."""

from sqlalchemy import delete, insert, select, update

from workers.doctor import store
from workers.store import tables
from workers.store.engine import begin, create_store_engine
from workers.store.migrate import migrate


def test_a_store_that_is_away_is_wrong():
    engine = create_store_engine("postgresql+psycopg://u:p@127.0.0.1:9/x")

    (line,), identity = store.schema(engine, ())

    assert identity is None
    assert line.what == "the store's schema could not be read"
    assert line.mend == "# start the store, or correct DUTIFUL_STORE__URL"


def test_tables_that_need_a_newer_release_are_wrong_until_it_is_there(tmp_path):
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")
    migrate(engine, None)
    lines, identity = store.schema(engine, ())
    assert (lines[0].verdict, bool(identity)) == ("ok", True)
    head = lines[0].what.split()[-1]
    with begin(engine) as connection:
        connection.execute(insert(tables.schema_minimums).values(name="dutiful", revision="9999"))

    (line,), identity = store.schema(engine, ())

    assert identity is None
    assert line.what == "this release is too old for the tables of dutiful"
    assert line.expected == "a release that knows revision 9999"
    assert line.received == f"one that knows {head}"
    assert line.mend == "# deploy a newer release"
    with begin(engine) as connection:  # a release that knows the revision
        connection.execute(update(tables.schema_minimums).values(revision=head))
    assert store.schema(engine, ())[0][0].verdict == "ok"
    engine.dispose()


def test_a_store_without_its_identity_is_wrong_until_it_is_restored(tmp_path):
    engine = create_store_engine(f"sqlite:///{tmp_path}/store.db")
    migrate(engine, None)
    with begin(engine) as connection:
        (row,) = connection.execute(select(tables.identity)).mappings().all()
        connection.execute(delete(tables.identity))

    (line,), identity = store.schema(engine, ())

    assert identity is None
    assert (line.verdict, line.what, line.received) == ("wrong", "the store has no identity", "none")
    assert line.mend == "# restore the store from a backup: docs/running.md"
    with begin(engine) as connection:
        connection.execute(insert(tables.identity).values(**row))
    assert store.schema(engine, ())[1] == row["id"]
    engine.dispose()
