from datetime import timedelta

from workers.store import keys, outbox
from workers.store.engine import begin
from workers.store.outbox import Outgoing

PARENT = {"actor": "content.import_feed", "key": "feed 1"}
FIRST, SECOND, THIRD = Outgoing("c", b"\x00\xff body"), Outgoing("a", b"{}", 53_000_000_000), Outgoing("b", b"", 0)


def add(engine, *messages, **parent):
    with begin(engine) as connection:
        outbox.add(connection, **(PARENT | parent), messages=messages)


def pending(engine, **parent):
    with begin(engine) as connection:
        return outbox.pending(connection, **(PARENT | parent))


def forget(engine, *message_ids, **parent):
    with begin(engine) as connection:
        outbox.forget(connection, **(PARENT | parent), message_ids=message_ids)


def stranded(engine, older_than=timedelta(0), **options):
    with begin(engine) as connection:
        return outbox.stranded(connection, older_than, **options)


def finish(engine, **parent):
    with begin(engine) as connection:
        keys.end(connection, keys.Ending(**(PARENT | parent), holder="h", fence=1, state="done"))


def test_messages_come_back_whole_in_the_order_in_which_they_were_sent(engine):
    add(engine, FIRST, SECOND)
    add(engine, THIRD)
    assert pending(engine) == [FIRST, SECOND, THIRD]


def test_a_message_stored_again_stays_as_it_was(engine):
    add(engine, FIRST, SECOND)
    add(engine, Outgoing(FIRST.message_id, b"other"))
    assert pending(engine) == [FIRST, SECOND]


def test_nothing_to_send_stores_nothing(engine):
    add(engine)
    assert pending(engine) == []


def test_confirmed_messages_are_forgotten_and_the_rest_stays(engine):
    add(engine, FIRST, SECOND, THIRD)
    forget(engine, FIRST.message_id, THIRD.message_id, "never there")
    assert pending(engine) == [SECOND]
    forget(engine)
    assert pending(engine) == [SECOND]


def test_a_job_forgets_only_its_own_messages(engine):
    add(engine, FIRST)
    forget(engine, FIRST.message_id, key="feed 2")
    assert pending(engine) == [FIRST]
    assert pending(engine, key="feed 2") == []


def test_more_messages_than_a_statement_has_room_for_are_forgotten(engine):
    messages = [Outgoing(f"m{number}", b"{}") for number in range(1200)]
    add(engine, *messages)
    forget(engine, *[message.message_id for message in messages[1:]])
    assert pending(engine) == messages[:1]


def test_messages_of_a_commit_that_did_not_happen_are_not_there(engine):
    with engine.connect() as connection:
        outbox.add(connection, **PARENT, messages=[FIRST])
        connection.rollback()
    assert pending(engine) == []


def test_a_done_job_with_messages_left_is_stranded(engine):
    add(engine, FIRST, SECOND)
    assert stranded(engine) == []
    finish(engine)
    assert stranded(engine) == [("content.import_feed", "feed 1")]
    forget(engine, FIRST.message_id, SECOND.message_id)
    assert stranded(engine) == []


def test_a_job_that_has_just_ended_is_not_stranded_yet(engine):
    add(engine, FIRST)
    finish(engine)
    assert stranded(engine, timedelta(minutes=1)) == []


def test_the_longest_stranded_come_first(engine):
    for number in (3, 1, 2):
        add(engine, Outgoing(f"m{number}", b"{}"), key=f"feed {number}")
        finish(engine, key=f"feed {number}")
    assert [key for _, key in stranded(engine, limit=2)] == ["feed 3", "feed 1"]
