"""Endings are recorded in a thread of their own: those that are there together share a commit."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Final

from sqlalchemy import Engine

from workers.errors import StoreUnavailable
from workers.store import batches
from workers.store.engine import begin
from workers.store.keys import Ending

Told = Callable[[Exception | None], None]

# Between two commits, so that more share the next one. The latest that an ending waits for company.
_PAUSE_SECONDS: Final = 0.002
_PROBE_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class Endings:
    """Writes down how attempts have ended, and tells each one when it is on the disk.

    While the store is away it tries each second; what is not recorded by the end of the process was not recorded.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Neither has a lock that the worker threads would stand in line for.
        self._waiting: SimpleQueue[tuple[Ending, Told] | None] = SimpleQueue()  # None: nothing comes after it
        self._unrecorded: deque[None] = deque()  # as many as were added and not told
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._record_until_stopped, name="dutiful-endings", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def add(self, ending: Ending, told: Told) -> None:
        """Have it recorded, and be told on the other thread: None, or why it was not."""
        self._unrecorded.append(None)
        self._waiting.put((ending, told))

    def record(self, ending: Ending) -> None:
        """Have it recorded, and wait for that.

        Raises:
          ClaimLost: another process has taken the job over.
          StoreUnavailable: the process ends, and the store is away.
        """
        recorded: Future[None] = Future()
        self.add(ending, lambda error: recorded.set_exception(error) if error else recorded.set_result(None))
        recorded.result()

    def flush(self, seconds: float = _LAST_SECONDS) -> bool:
        """Wait until everything is recorded that was added; False when it was not in time."""
        deadline = time.monotonic() + seconds
        while self._unrecorded and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
        return not self._unrecorded

    def stop(self) -> None:
        """Record what is left, if the store is there, and end the thread."""
        self._stopping.set()
        self._waiting.put(None)
        self._thread.join(_LAST_SECONDS)

    def _record_until_stopped(self) -> None:
        while batch := self._next():
            errors = self._record([ending for ending, _ in batch])
            for (_, told), error in zip(batch, errors, strict=True):
                try:
                    told(error)
                except Exception:  # noqa: BLE001  it is one message's; this thread serves all
                    _log.exception("an ending was recorded, and its message could not be settled")
                self._unrecorded.pop()
            time.sleep(_PAUSE_SECONDS)

    def _next(self) -> list[tuple[Ending, Told]]:
        """What is there, once there is something; nothing when nothing comes any more."""
        batch = []
        each = self._waiting.get()
        while each is not None:
            batch.append(each)
            try:
                each = self._waiting.get_nowait()
            except Empty:
                return batch
        if batch:
            self._waiting.put(None)
        return batch

    def _record(self, endings: Sequence[Ending]) -> Sequence[Exception | None]:
        failing = False
        while True:
            asked = time.monotonic()
            try:
                found = self._record_now(endings)
            except StoreUnavailable as error:
                if self._stopping.is_set():
                    return [error] * len(endings)
                if not failing:
                    _log.warning("endings not recorded, trying every second: %s", error)
                failing = True
                self._stopping.wait(_PROBE_SECONDS)
            else:
                store_took("end", time.monotonic() - asked)
                if failing:
                    _log.warning("endings recorded again")
                return found

    def _record_now(self, endings: Sequence[Ending]) -> Sequence[Exception | None]:
        try:
            with begin(self._engine) as connection:
                if batches.end(connection, endings):
                    return [None] * len(endings)
                connection.get_transaction().rollback()  # type: ignore[union-attr]  # begin() has made one
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001  each has its chance alone
            _log.exception("endings could not be recorded together; one by one then")
        return [self._record_alone(ending) for ending in endings]

    def _record_alone(self, ending: Ending) -> Exception | None:
        try:
            with begin(self._engine) as connection:
                (error,) = batches.end_each(connection, [ending])
                return error
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  without this thread no job of this process would ever end
            _log.exception("an ending could not be recorded; its message is handed back")
            return error


def store_took(operation: str, seconds: float) -> None:
    """Show how long the store took."""
    from workers import metrics  # noqa: PLC0415  not before share()

    metrics.store_seconds.labels(operation).note(seconds)
