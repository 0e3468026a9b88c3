import pytest
from sqlalchemy import select

from workers.errors import ConfigurationError
from workers.store import tables, tokens
from workers.store.engine import begin


def add_token(engine, name, *actors):
    with begin(engine) as connection:
        return tokens.add(connection, name, actors)


def test_only_a_digest_of_the_token_is_kept(engine):
    token = add_token(engine, "shop", "content.import_feed")
    secret = token.removeprefix(tokens.PREFIX).partition("_")[2]

    with begin(engine) as connection:
        kept = [str(row) for table in (tables.tokens, tables.audit) for row in connection.execute(select(table))]
        (known,) = tokens.read(connection)

    assert not [row for row in kept if secret in row]
    assert known.digest == tokens.digest(secret)
    assert (known.name, known.actors, known.revoked_at) == ("shop", {"content.import_feed"}, None)


def test_no_two_tokens_are_alike(engine):
    assert len({add_token(engine, f"shop {number}", "a") for number in range(20)}) == 20


def test_a_token_allows_its_actors_and_a_star_all(engine):
    add_token(engine, "some", "a", "b")
    add_token(engine, "all", tokens.EVERY)

    with begin(engine) as connection:
        every, some = tokens.read(connection)

    assert [some.allows(actor) for actor in ("a", "b", "c", "")] == [True, True, False, False]
    assert every.allows("c")


@pytest.mark.parametrize(("name", "actors"), [("shop", ["a"]), (" ", ["a"]), ("mail", [])])
def test_a_name_that_is_taken_or_a_token_for_nothing_is_refused(engine, name, actors):
    add_token(engine, "shop", "a")

    with pytest.raises(ConfigurationError):
        add_token(engine, name, *actors)


def test_revoking_is_on_record_and_happens_once(engine):
    add_token(engine, "shop", "a")

    with begin(engine) as connection:
        assert tokens.revoke(connection, "shop", reason="it was in a log", who="me")
        assert not tokens.revoke(connection, "shop", reason="again", who="me")
        assert not tokens.revoke(connection, "nobody", reason="", who="me")
        assert tokens.read(connection)[0].revoked_at is not None
        lines = connection.execute(select(tables.audit.c.action, tables.audit.c.detail, tables.audit.c.reason)).all()

    assert lines[1:] == [("revoked token", "shop", "it was in a log")]
    with pytest.raises(ConfigurationError, match="already"):
        add_token(engine, "shop", "a")
