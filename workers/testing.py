"""Fixtures for tests of your own actors: the same middleware on a broker in memory, a store in a file, a clock to move.

In your conftest.py: `pytest_plugins = ["workers.testing"]`. It must be loaded before your actors are imported.
"""

import atexit
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from dramatiq import Message, Worker
from sqlalchemy import Engine

from workers import clock
from workers.logs import join_standard_logging
from workers.memory import MemoryBroker

_LONGEST_RUN_MS = 60_000


def pytest_configure() -> None:
    """Point the settings at memory, before any actor is imported."""
    for name in [name for name in os.environ if name.startswith("DUTIFUL_")]:
        del os.environ[name]
    folder = tempfile.mkdtemp(prefix="dutiful-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["DUTIFUL_RABBITMQ__URL"] = "memory://"
    os.environ["DUTIFUL_STORE__URL"] = f"sqlite:///{folder}/store.db"
    join_standard_logging()  # pytest shows the lines of a test that failed


class Clock:
    """The time that the runtime sees; it stands still unless it is moved."""

    def __init__(self) -> None:
        self.time = clock.utcnow()

    def now(self) -> datetime:
        """The time."""
        return self.time

    def advance(self, by: timedelta) -> None:
        """Move it on."""
        self.time += by


class Jobs:
    """Runs jobs, and shows what came of them.

    Attributes:
      clock: move it to let delayed jobs become due.
      store: the engine of the store.
    """

    def __init__(self, broker: MemoryBroker, moved: Clock) -> None:
        self.broker = broker
        self.clock = moved
        self.store: Engine = broker.store

    @property
    def published(self) -> list[Message[Any]]:
        """Every message that was sent, in order, retries included."""
        return self.broker.published

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """How each delivery ended, in order: the actor, and succeeded, retried, dead, deferred, duplicate, …."""
        return self.broker.outcomes

    @property
    def dead_letters(self) -> list[dict[str, Any]]:
        """Every dead letter: its message, and the headers that say why."""
        return [{"message": message, **headers} for message, headers in self.broker.buried]

    def run(self) -> None:
        """Run everything that is due, and everything due that this sends, until nothing is left."""
        worker = Worker(self.broker, worker_timeout=10, worker_threads=1)
        worker.start()
        try:
            while True:
                for queue in list(self.broker.queues):
                    self.broker.join(queue, timeout=_LONGEST_RUN_MS)
                worker.join()
                if not self.broker.release_due() and not any(q.unfinished_tasks for q in self.broker.queues.values()):
                    return
        finally:
            worker.stop()
            self.broker.middleware.pop()  # Dramatiq's worker added one of its own


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """Your actors' jobs, in a world of their own that is empty at the start of each test."""
    from workers.broker import setup_broker  # noqa: PLC0415  after pytest_configure

    broker = setup_broker()
    assert isinstance(broker, MemoryBroker)  # noqa: S101  else these tests would run real jobs
    _empty(broker)
    moved = Clock()
    with patch.object(clock, "source", moved.now):
        yield Jobs(broker, moved)
    broker.clear()


def _empty(broker: MemoryBroker) -> None:
    """Give the broker a store that is migrated and empty: a copy, which costs less than deleting.

    SQLite writes it: a thread that still has the store open, of a worker that has not ended, finds the copy there.
    """
    from workers.store.readiness import make_ready, packages_of  # noqa: PLC0415  after pytest_configure

    broker.clear()
    broker.store.dispose()
    file = Path(str(broker.store.url.database))
    template = file.with_suffix(".template")
    if not template.exists():
        make_ready(broker.store, packages_of(broker.actors.values()))
        broker.store.dispose()  # closing the last connection brings everything into the one file
        shutil.copy(file, template)
        return
    with closing(sqlite3.connect(template)) as empty, closing(sqlite3.connect(file)) as used:
        used.execute("PRAGMA synchronous = OFF")
        empty.backup(used)
