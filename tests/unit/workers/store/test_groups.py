"""Groups: each member counts once, and the callbacks come once, whoever counts at the same time."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from workers.errors import StoreError
from workers.store import groups, tables
from workers.store.engine import begin
from workers.store.outbox import Outgoing

CALLBACKS = [Outgoing("c1", '{"é": 1}'.encode()), Outgoing("c2", b"{}", 5000)]


def group_create(engine, size, callbacks=CALLBACKS, **options):
    with begin(engine) as connection:
        return groups.create(connection, "g", size, callbacks, **options)


def group_count(engine, member, callbacks=(), group="g"):
    with begin(engine) as connection:
        return groups.count(connection, group, member, callbacks)


def group_close(engine):
    with begin(engine) as connection:
        return groups.close(connection, "g")


def group_expect(engine, more=1):
    with begin(engine) as connection:
        groups.expect(connection, "g", more)


def group_progress(engine):
    with begin(engine) as connection:
        found = groups.find(connection, "g")
    return found.expected, found.counted, found.open, found.completed_at is not None


def members_kept(engine):
    with begin(engine) as connection:
        return connection.scalar(select(func.count()).select_from(tables.group_members))


def test_the_last_member_brings_the_callbacks_and_no_other_does(engine):
    group_create(engine, 3)
    assert [group_count(engine, member) for member in "abc"] == [[], [], CALLBACKS]
    assert group_progress(engine) == (3, 3, False, True)
    assert members_kept(engine) == 0


def test_a_member_counted_twice_counts_once(engine):
    group_create(engine, 2)
    assert [group_count(engine, member) for member in "aaa"] == [[], [], []]
    assert group_progress(engine) == (2, 1, False, False)
    assert group_count(engine, "b") == CALLBACKS
    assert [group_count(engine, member) for member in "ab"] == [[], []], "it is complete already"


def test_what_the_last_member_says_follows_what_was_registered(engine):
    group_create(engine, 1)
    more = Outgoing("c3", b"{}")
    assert group_count(engine, "a", [more]) == [*CALLBACKS, more]


def test_a_count_that_is_rolled_back_did_not_happen(engine):
    group_create(engine, 1)
    with engine.connect() as connection:
        assert groups.count(connection, "g", "a") == CALLBACKS
        connection.rollback()
    assert group_count(engine, "a") == CALLBACKS


def test_a_group_registered_again_stays_as_it_is(engine):
    assert group_create(engine, 2) is True
    group_count(engine, "a")
    assert group_create(engine, 5) is False
    assert group_count(engine, "b") == CALLBACKS


def test_a_group_that_is_not_known_counts_nothing_and_says_so(engine, caplog):
    assert group_count(engine, "a", CALLBACKS, group="another store's") == []
    assert "another store's" in caplog.text


def test_an_open_group_waits_until_it_is_closed(engine):
    group_create(engine, 0, open=True)
    group_expect(engine, 2)
    assert [group_count(engine, member) for member in "ab"] == [[], []]
    group_expect(engine)
    assert group_close(engine) == []
    assert group_count(engine, "c") == CALLBACKS


def test_an_open_group_whose_members_were_faster_ends_when_it_is_closed_and_only_once(engine):
    group_create(engine, 0, open=True)
    group_expect(engine)
    group_count(engine, "a")
    assert group_close(engine) == CALLBACKS
    assert group_close(engine) == []


def test_an_open_group_without_members_ends_when_it_is_closed(engine):
    group_create(engine, 0, open=True)
    assert group_close(engine) == CALLBACKS


def test_a_group_that_is_closed_takes_no_more_members(engine):
    group_create(engine, 1)
    with pytest.raises(StoreError, match="open group"):
        group_expect(engine)


@pytest.mark.parametrize("seed", range(3))
def test_members_counted_at_the_same_time_and_again_bring_the_callbacks_once(engine, seed):
    chance = random.Random(seed)
    group_create(engine, 20)
    members = [f"m{number}" for number in range(20)] * 3
    chance.shuffle(members)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda member: group_count(engine, member), members))
    assert [each for each in found if each] == [CALLBACKS]
