"""A holder is one process's lease on the keys that it runs.

It is one row, written every 5 s and good for 20 s by the store's clock. Others may take over a key when its holder's
row has expired or is gone, and at once when its process is seen to be dead on the same host. Taking over is safe for
the store, since every ending compares the fence. An effect outside the store can be doubled when a process that lives
could not beat for a whole lease: the store was away, or the process was stopped and continued.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Self

from sqlalchemy import Connection, Engine, delete, select, update

from workers.errors import StoreError, StoreUnavailable
from workers.store import processes, tables
from workers.store.engine import begin, insert_unless_there, moment, outages

LEASE = timedelta(seconds=20)
BEAT = timedelta(seconds=5)
_BEAT_AFTER_OUTAGE = timedelta(seconds=1)  # soon after the store is back, before anybody judges the lease
_STOP_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Holder:
    """This process's lease. It belongs to one pid: a forked child registers its own.

    Parameters:
      engine: the store's.
      told: hears whether the store is there, at each beat that tells something new.

    Attributes:
      id: what keys name as their holder.
    """

    def __init__(self, engine: Engine, told: Callable[[bool], None] = lambda _: None) -> None:
        self.id = str(uuid.uuid4())
        self._told = told
        self._cautious_until = time.monotonic() + LEASE.total_seconds()
        self.pid = os.getpid()
        self._engine = engine
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._leaves = False
        self._thread: threading.Thread | None = None

    @classmethod
    def register(cls, engine: Engine, told: Callable[[bool], None] = lambda _: None) -> Self:
        """A new lease, good from now on; `start()` keeps it so.

        Raises:
          StoreUnavailable: the store can't be reached.
        """
        holder = cls(engine, told)
        holder.beat()
        told(True)
        return holder

    @property
    def is_cautious(self) -> bool:
        """Whether a lease that has run out may be that of a process at work, which could not beat.

        So it is for as long as a lease is good, once the store is back, and once this process has begun: it can't know.
        """
        return time.monotonic() < self._cautious_until

    def beat(self) -> None:
        """Renew the lease.

        Raises:
          StoreUnavailable: the store can't be reached.
          StoreError: this is a forked child, and the lease is its parent's.
        """
        if os.getpid() != self.pid:
            raise StoreError(
                "a lease was renewed by another process than its own",
                expected=f"pid {self.pid}",
                received=f"pid {os.getpid()}: a forked process registers a lease of its own",
            )
        with begin(self._engine) as connection, outages("a lease could not be renewed"):
            time = moment(connection)
            fresh = {"beat_at": time, "expires_at": time + LEASE, "stopping": self._leaves}
            renewed = connection.execute(update(tables.holders).where(tables.holders.c.id == self.id).values(fresh))
            if renewed.rowcount == 0:
                me = {
                    "id": self.id,
                    "host": processes.host(),
                    "pid": self.pid,
                    "pid_started": processes.started(self.pid),
                }
                insert_unless_there(connection, tables.holders, me | fresh)

    def start(self) -> None:
        """Beat every 5 s in a thread, until `stop()`."""
        if self._thread is None:
            self._stopping.clear()
            self._news.clear()
            self._thread = threading.Thread(target=self._beat_until_stopped, name="dutiful-lease", daemon=True)
            self._thread.start()

    def leave(self) -> None:
        """Say with the next beat, which comes now, that this process stops: what is open then is no job's fault."""
        self._leaves = True
        self._news.set()

    def stop(self) -> None:
        """Stop beating. The lease stays good until it expires."""
        self._stopping.set()
        self._news.set()
        if self._thread is not None and os.getpid() == self.pid:
            self._thread.join(_STOP_SECONDS)
        self._thread = None

    def release(self) -> None:
        """Give the lease up on a clean exit: what it still holds can be taken over at once. Harmless in a forked child.

        Raises:
          StoreUnavailable: the store can't be reached; the lease expires by itself.
        """
        self.stop()
        if os.getpid() == self.pid:
            with begin(self._engine) as connection, outages("a lease could not be given up"):
                connection.execute(delete(tables.holders).where(tables.holders.c.id == self.id))

    def _beat_until_stopped(self) -> None:
        failing = False
        while True:
            self._news.wait((_BEAT_AFTER_OUTAGE if failing else BEAT).total_seconds())
            self._news.clear()
            if self._stopping.is_set():
                return
            try:
                self.beat()
            except Exception as error:  # noqa: BLE001  without this thread every job of this process would be taken over
                if not failing:
                    self._told(False)
                    unforeseen = not isinstance(error, StoreUnavailable)
                    _log.warning("lease not renewed, trying every second: %s", error, exc_info=unforeseen)
                failing = True
            else:
                if failing:
                    self._cautious_until = time.monotonic() + LEASE.total_seconds()
                    self._told(True)
                    _log.warning("lease renewed again")
                failing = False


def is_alive(connection: Connection, holder_id: str, *, cautious: bool = False) -> bool:
    """Whether the holder's lease is good, as far as the store's clock and this host's processes tell.

    Parameters:
      cautious: a lease that has run out is no proof; only a process seen to be dead, or one that gave its lease up, is.
    """
    row = connection.execute(
        select(
            tables.holders.c.host,
            tables.holders.c.pid,
            tables.holders.c.pid_started,
            (tables.holders.c.expires_at > moment(connection)).label("good"),
        ).where(tables.holders.c.id == holder_id)
    ).one_or_none()
    if row is None or not (row.good or cautious):
        return False
    return row.host != processes.host() or processes.is_running(row.pid, row.pid_started)


def died_at_work(connection: Connection, holder_id: str) -> bool:
    """Of a holder that isn't alive: whether it has neither given its lease up nor begun to stop."""
    stopping = tables.holders.c.stopping
    row = connection.execute(select(stopping).where(tables.holders.c.id == holder_id)).one_or_none()
    return row is not None and not row.stopping
