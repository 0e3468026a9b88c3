"""The relay publishes what waits in an outbox, with confirms, and then removes it.

It promises at least once, in no order. Killed between the two, it publishes the same messages again, under the same
ids: jobs with a key run once.
"""

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from dramatiq import Message
from sqlalchemy import Engine

from workers import outbox
from workers.bulk import BulkSending
from workers.declaration import Actor
from workers.errors import (
    BrokerBlocked,
    BrokerUnreachable,
    ContractError,
    DutifulError,
    QueueMissing,
)
from workers.store import outbox as job_outbox
from workers.store import publisher_outbox, turns
from workers.store.engine import begin, read_only
from workers.store.publisher_outbox import Depth, Waiting

BATCH: Final = 500
_POLL_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 10.0
_LEFT_BEHIND: Final = timedelta(seconds=30)
_TURN: Final = timedelta(seconds=15)
_GRACE_SECONDS: Final = 20

_log = logging.getLogger(__name__)


@dataclass
class Counts:
    """What a relay has done.

    Attributes:
      relayed: rows that are published and removed.
      set_aside: rows that can never be published as they are.
      not_taken: messages that the broker did not confirm; they are tried again.
    """

    relayed: int = 0
    set_aside: int = 0
    not_taken: int = 0


@dataclass
class Relay:
    """Empties the publishers' outbox of one database, and in the store what jobs left behind.

    Parameters:
      engine: of the database.
      broker: where the messages go.
      batch: how many are on their way at once.
      is_store: the database is the store: workers take turns, and look after what a crash left of a job's messages.
      told: called with what has just been done, after each batch.

    Attributes:
      trouble: why nothing is relayed now; empty when all is well.
    """

    engine: Engine
    broker: BulkSending
    batch: int = BATCH
    is_store: bool = False
    told: Callable[[Counts], None] = lambda _: None
    trouble: str = ""
    _me: str = field(default_factory=lambda: str(uuid.uuid4()))
    _failures: int = 0
    _look_behind_at: float = 0.0

    def run(self, stopping: threading.Event) -> None:
        """Relay until stopped; the batch in hand is finished. While the broker or the database is away, rows wait."""
        _log.info("relaying the outbox")
        pause = 0.0
        while not stopping.wait(pause):
            pause = self._step()
        _log.info("the outbox is relayed no longer")

    def drain(self) -> Counts:
        """Relay what can be relayed now.

        Raises:
          BrokerUnreachable, BrokerBlocked: the broker takes nothing.
          StoreUnavailable: the database can't be reached.
        """
        total = Counts()
        while (done := self.once()) is not None:
            total.relayed += done.relayed
            total.set_aside += done.set_aside
            total.not_taken += done.not_taken
        return total

    def once(self) -> Counts | None:
        """Relay one batch. None: nothing waits, or it is another's turn.

        Raises:
          as `drain`.
        """
        if self.is_store:
            self._send_what_was_left_behind()
        with begin(read_only(self.engine)) as connection:
            if not publisher_outbox.is_waiting(connection):
                return None
        if not self._is_my_turn():
            return None
        # After an outage, one message shows whether it is over.
        limit = 1 if self._failures else self.batch
        lasts = timedelta(seconds=self.broker.publish_timeout_seconds + _GRACE_SECONDS)
        with begin(self.engine) as connection:
            time_there, rows = publisher_outbox.claim(connection, limit=limit, lasts=lasts)
        return self._relay(rows, time_there) if rows else None

    def depth(self) -> Depth:
        """How much waits.

        Raises:
          StoreUnavailable: the database can't be reached.
        """
        with begin(read_only(self.engine)) as connection:
            return publisher_outbox.depth(connection)

    def _step(self) -> float:
        """Do what there is to do; how many seconds to wait then."""
        try:
            done = self.once()
        except Exception as error:  # noqa: BLE001  without this thread nothing would be relayed any more
            unforeseen = not isinstance(error, DutifulError)
            if not self._failures:
                _log.warning("the outbox can't be relayed now, trying again: %s", error, exc_info=unforeseen)
            self._failures += 1
            self.trouble = f"the outbox can't be relayed: {error}"
            longest = min(_POLL_SECONDS * 2**self._failures, _LONGEST_PAUSE_SECONDS)
            return random.uniform(longest / 2, longest)  # noqa: S311  spreads relays, no secret
        if done is not None and self._failures:
            _log.warning("the outbox is relayed again")
        self._failures, self.trouble = 0, ""
        if done is not None and not done.not_taken:
            return 0.0
        return random.uniform(_POLL_SECONDS / 2, _POLL_SECONDS * 1.5)  # noqa: S311  as above

    def _is_my_turn(self) -> bool:
        if not self.is_store:
            return True
        with begin(self.engine) as connection:
            return turns.take(connection, "outbox", self._me, _TURN)

    def _relay(self, rows: list[Waiting], time_there: datetime) -> Counts:
        broken: dict[str, str] = {}
        good: list[tuple[Message[Any], int | None]] = []
        for row in rows:
            try:
                good.append((self._read(row), row.delay_from(time_there)))
            except ContractError as error:
                broken[row.message_id] = str(error)
        outage: DutifulError | None = None
        confirmed: list[str] = []
        not_sent: list[str] = []
        for (message, _), failure in zip(good, self.broker.publish_each(good), strict=True):
            if failure is None:
                confirmed.append(message.message_id)
            elif isinstance(failure, ContractError | QueueMissing):
                broken[message.message_id] = str(failure)
            elif isinstance(failure, BrokerUnreachable | BrokerBlocked):
                outage = failure
                not_sent.append(message.message_id)
            # Any other stays claimed for a while, so that a queue that takes nothing holds up no other.
        with begin(self.engine) as connection:
            publisher_outbox.forget(connection, confirmed)
            publisher_outbox.set_aside(connection, broken)
            publisher_outbox.release(connection, not_sent)
        for message_id, why in broken.items():
            _log.error("message %s of the outbox is set aside: %s", message_id, why)
        done = Counts(len(confirmed), len(broken), len(rows) - len(confirmed) - len(broken))
        self.told(done)
        if outage is not None:
            raise outage
        return done

    def _read(self, row: Waiting) -> Message[Any]:
        message = outbox.read(row)
        actor = self.broker.actors.get(message.actor_name)
        if isinstance(actor, Actor):  # the contract of another package's actor is checked by its worker
            actor.contract.check(message.args, message.kwargs)
        return message

    def _send_what_was_left_behind(self) -> None:
        """Publish what jobs sent in a commit after which their worker died."""
        if time.monotonic() < self._look_behind_at:
            return
        self._look_behind_at = time.monotonic() + _LEFT_BEHIND.total_seconds() / 2
        with begin(read_only(self.engine)) as connection:
            parents = job_outbox.stranded(connection, _LEFT_BEHIND)
        if not parents or not self._is_my_turn():
            return
        for actor, key in parents:
            with begin(read_only(self.engine)) as connection:
                left = job_outbox.pending(connection, actor, key)
            messages = [(Message.decode(each.body), each.delay_ms) for each in left]
            results = self.broker.publish_each(messages, limited=False)
            sent = [each.message_id for each, error in zip(left, results, strict=True) if error is None]
            with begin(self.engine) as connection:
                job_outbox.forget(connection, actor, key, sent)
            self.told(Counts(relayed=len(sent), not_taken=len(left) - len(sent)))
            for error in results:
                if isinstance(error, BrokerUnreachable | BrokerBlocked):
                    raise error
                if error is not None:
                    _log.error("what the job %s %s has sent can't be published: %s", actor, key, error)
