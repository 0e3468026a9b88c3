from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from workers.store import tables
from workers.store.census import Group, census
from workers.store.engine import begin
from workers.store.holders import Holder
from workers.store.identity import identity_of
from workers.store.purge import purge, purgeable

WEEK = timedelta(days=7)
NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=8)
YEARS_AGO = NOW - timedelta(days=800)


def add_keys(engine, keys):
    """Keys as {name: (state, since)}."""
    common = {"actor": "a", "attempt": 1, "generation": 0, "fence": 1, "created_at": YEARS_AGO}
    rows = [common | {"key": key, "state": state, "updated_at": since} for key, (state, since) in keys.items()]
    with begin(engine) as connection:
        connection.execute(insert(tables.keys), rows)


def left(engine, column):
    with begin(engine) as connection:
        return set(connection.scalars(select(column)))


def test_keys_of_jobs_that_ended_long_ago_are_removed_and_no_others(engine):
    ended = {state: (state, OLD) for state in ("done", "discarded", "canceled")}
    stay = {f"old {state}": (state, YEARS_AGO) for state in ("waiting", "running", "dead")}
    add_keys(engine, ended | stay | {"new": ("done", NOW)})

    assert purgeable(engine, key_ttl=WEEK)["keys"] == 3
    others = dict.fromkeys(("holders", "ticks", "audit", "groups", "pauses", "requests"), 0)
    assert purge(engine, key_ttl=WEEK) == {"keys": 3, **others}

    assert left(engine, tables.keys.c.key) == {*stay, "new"}
    assert purgeable(engine, key_ttl=WEEK)["keys"] == 0


def test_a_key_with_messages_still_to_publish_stays(engine):
    add_keys(engine, {"unsent": ("done", OLD), "sent": ("done", OLD)})
    message = {"message_id": "m", "actor": "a", "key": "unsent", "position": 0, "body": b"", "created_at": OLD}
    with begin(engine) as connection:
        connection.execute(insert(tables.outbox).values(message))

    purge(engine, key_ttl=WEEK)

    assert left(engine, tables.keys.c.key) == {"unsent"}


@pytest.mark.parametrize("count", [0, 9, 10, 11, 25])
def test_batches_leave_nothing_over_and_progress_is_told_after_each(engine, count):
    add_keys(engine, {"stays": ("dead", OLD)} | {f"{number}": ("done", OLD) for number in range(count)})
    told = []

    purge(engine, key_ttl=WEEK, batch=10, progress=lambda removed: told.append(removed["keys"]))

    assert told == sorted({*range(10, count, 10), count} - {0})
    assert left(engine, tables.keys.c.key) == {"stays"}


def test_leases_that_expired_are_removed_unless_a_key_names_them(engine):
    alive = Holder.register(engine)
    lease = {"host": "h", "pid": 1, "pid_started": "", "beat_at": OLD, "expires_at": OLD}
    add_keys(engine, {"runs": ("running", OLD)})
    with begin(engine) as connection:
        connection.execute(insert(tables.holders), [lease | {"id": "gone"}, lease | {"id": "named"}])
        connection.execute(tables.keys.update().values(holder="named"))

    assert purge(engine, key_ttl=WEEK)["holders"] == 1

    assert left(engine, tables.holders.c.id) == {"named", alive.id}


def test_published_ticks_are_removed_after_90_days_but_for_the_latest_of_each_schedule(engine):
    def tick(schedule, due, *, published=True):
        return {
            "schedule": schedule,
            "due_at": due,
            "recorded_at": due,
            "published_at": due if published else None,
            "message_id": "",
        }

    rows = [
        tick("nightly", YEARS_AGO),
        tick("nightly", NOW - timedelta(days=89)),
        tick("rare", YEARS_AGO),
        tick("stuck", YEARS_AGO, published=False),
        tick("stuck", NOW),
    ]
    with begin(engine) as connection:
        connection.execute(insert(tables.ticks), rows)

    assert purge(engine, key_ttl=WEEK)["ticks"] == 1

    with begin(engine) as connection:
        kept = connection.execute(select(tables.ticks.c.schedule, tables.ticks.c.due_at)).all()
    assert set(kept) == {(row["schedule"], row["due_at"]) for row in rows[1:]}


def test_lines_of_the_audit_trail_are_kept_for_a_year(engine):
    line = {"who": "w", "action": "canceled", "reason": "r", "detail": ""}
    with begin(engine) as connection:
        connection.execute(
            insert(tables.audit),
            [line | {"at": YEARS_AGO}, line | {"at": NOW - timedelta(days=360)}],
        )

    assert purge(engine, key_ttl=WEEK)["audit"] == 1

    assert left(engine, tables.audit.c.at) == {NOW - timedelta(days=360)}


def test_the_census_counts_each_state_and_names_the_oldest(engine):
    Holder.register(engine)
    add_keys(engine, {"1": ("done", OLD), "2": ("done", NOW), "3": ("dead", OLD)})

    groups = {each.what: each for each in census(engine)}

    assert groups["keys done"] == Group("keys done", 2, OLD)
    assert groups["keys dead"].rows == groups["holders alive"].rows == 1
    assert groups["outbox waiting"] == Group("outbox waiting", 0, None)


def test_a_store_keeps_its_identity_and_another_has_another(engine, tmp_path):
    assert identity_of(engine) == identity_of(engine)
    assert len(identity_of(engine)) == 36
