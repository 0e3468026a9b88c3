"""What the store says of the last hour: each job is counted where its last change belongs."""

from datetime import timedelta

from workers.store import tables
from workers.store.engine import begin, now
from workers.store.recent import recent


def test_jobs_are_counted_by_how_and_when_they_ended(engine):
    ended = [("done", 1), ("done", 9), ("dead", 9), ("done", 11), ("dead", 59), ("done", 61), ("running", 1)]
    with begin(engine) as connection:
        here = now(connection)
        rows = [
            {
                "actor": "a",
                "key": str(number),
                "state": state,
                "attempt": 1,
                "generation": 0,
                "fence": 1,
                "created_at": here - timedelta(hours=2),
                "updated_at": here - timedelta(minutes=minutes),
            }
            for number, (state, minutes) in enumerate(ended)
        ]
        connection.execute(tables.keys.insert(), rows)

    found = recent(engine)

    assert (found.ended, found.dead) == (5, 2)
    assert (found.ended_lately, found.dead_lately) == (3, 1)
    assert (found.processes, found.oldest_tick_seconds) == (0, 0.0)
