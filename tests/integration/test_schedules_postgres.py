"""What schedules and pauses remember is the same in PostgreSQL."""

from datetime import timedelta

import pytest

from scheduling import desk
from scheduling.every import Every
from scheduling.schedule import Schedule
from scheduling.ticks import TickEngine
from workers.clock import utcnow
from workers.declaration import actor
from workers.memory import MemoryBroker
from workers.store import keys, pauses
from workers.store.engine import begin, create_store_engine
from workers.store.keys import Ending, Request
from workers.store.migrate import migrate
from workers.store.purge import purge


class Clock:
    """A scheduler's clock that runs ahead of the store's."""

    def __init__(self):
        self.ahead = timedelta(0)

    def __call__(self):
        return utcnow() + self.ahead


@pytest.fixture
def store(postgres):
    engine = create_store_engine(postgres)
    migrate(engine, package=None)
    yield engine
    engine.dispose()


def test_ticks_are_recorded_published_settled_run_again_paused_and_purged(store):
    broker, clock = MemoryBroker(middleware=[]), Clock()

    @actor(actor_name="site.sweep", broker=broker, owner="x", expects="x", rollback="x")
    def sweep() -> None: ...

    schedule = Schedule("sweep", sweep, Every(60), owner="x", overlap="queue_one")
    engine = TickEngine(store, [schedule], clock)
    engine.run_once()
    assert engine.problems() == []
    clock.ahead = timedelta(seconds=60)
    engine.run_once()
    (first,) = broker.published
    with begin(store) as connection:
        claim = keys.claim(connection, Request("site.sweep", first.options["key"], "id", "h", 1, 0), holder="a")
        keys.end(connection, Ending("site.sweep", first.options["key"], "a", claim.fence, "done"))
    engine.run_once()
    (tick,) = desk.history(store, schedule, 5)
    assert (tick.outcome, tick.key) == ("succeeded", first.options["key"])
    (state,) = desk.overview(store, [schedule])
    assert (state.last.due_at, state.pause) == (tick.due_at, None)

    assert desk.backfill(store, schedule, [(tick.due_at, "run again")], reason="why not") == 1
    engine.run_once()
    engine.run_once()
    assert broker.published[-1].options["key"] == f"{first.options['key']}#1"
    assert desk.run(store, schedule, reason="why not").message_id == broker.published[-1].message_id

    with begin(store) as connection:
        pauses.pause(connection, "schedule", "sweep", reason="a move", until=None)
        pauses.pause(connection, "schedule", "sweep", reason="a longer move", until=utcnow() + timedelta(days=1))
    (state,) = desk.overview(store, [schedule])
    assert state.pause.reason == "a longer move"
    clock.ahead += timedelta(seconds=60)
    engine.run_once()
    assert desk.history(store, schedule, 1)[0].outcome == "paused"
    with begin(store) as connection:
        assert pauses.resume(connection, "schedule", "sweep")
    assert purge(store, key_ttl=timedelta(days=7))["pauses"] == 0
