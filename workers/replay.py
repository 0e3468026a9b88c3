"""A replay sends dead letters again, each confirmed by RabbitMQ before it leaves the dead queue."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from workers import envelope
from workers.dead_queue import DeadQueue
from workers.errors import PublishError
from workers.letter import Letter, key_of
from workers.rabbitmq import DutifulBroker
from workers.transport import topology
from workers.transport.post import Post

# A letter that has failed again so often is chosen by its id, or with `again`.
MOST_REPLAYS: Final = 3
_WINDOW: Final = 500
_TURN_SECONDS: Final = 0.02


@dataclass
class Tally:
    """What an action has done so far.

    Attributes:
      looked: letters that were looked at.
      done: letters that it has dealt with; they are in the dead queue no longer.
      skipped: how many were chosen and are still there, by reason.
      repeatable: how many of those done have no key, so that their job may run twice.
      jobs: actor, key and generation of those done, where that was asked for.
      last: the last letter that was done.
    """

    looked: int = 0
    done: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    repeatable: int = 0
    jobs: list[tuple[str, str, int]] | None = None
    last: Letter | None = None


class Replay:
    """Sends the chosen letters of one dead queue again.

    Killed at any moment it loses nothing: a letter leaves the dead queue after its replay is confirmed. One that was
    confirmed and is still there is replayed once more by the next run, as the same generation: its key runs it once.

    Parameters:
      broker: where they are sent.
      chosen: which ones.
      tally: counted up as it goes.
      rate: letters a second; None: as fast as it goes.
      again: also those that have been replayed MOST_REPLAYS times.
      keyless: also jobs with key=None, which may run twice by it.
      progress: told now and then.
    """

    def __init__(
        self,
        broker: DutifulBroker,
        chosen: Callable[[Letter], bool],
        tally: Tally,
        *,
        rate: float | None = None,
        again: bool = False,
        keyless: bool = False,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._broker = broker
        self._chosen = chosen
        self._tally = tally
        self._pause = 1 / rate if rate else 0.0
        self._again = again
        self._keyless = keyless
        self._progress = progress
        self._next = 0.0
        self._in_flight: deque[tuple[Letter, Post]] = deque()

    def run(self, held: DeadQueue) -> None:
        """Replay what is there now. What fails again meanwhile is not looked at.

        Raises:
          PublishError: RabbitMQ did not take one; it is still there, and what was confirmed before is gone from here.
          BrokerUnreachable: the dead queue was lost.
        """
        try:
            for letter in held.letters():
                self._tally.looked += 1
                if self._chosen(letter):
                    self._send(held, letter)
                self._settle(held)
                while len(self._in_flight) >= _WINDOW:
                    self._turn(held)
                self._progress()
        finally:
            self._settle_the_rest(held)

    def _send(self, held: DeadQueue, letter: Letter) -> None:
        message = letter.again()
        if message is None:
            self._tally.skipped["it can't be read"] += 1
            return
        if letter.generation >= MOST_REPLAYS and not self._again:
            self._tally.skipped[f"it has failed again {letter.generation} times"] += 1
            return
        actor = self._broker.actors.get(message.actor_name)
        has_key = getattr(actor, "key", "") is not None
        if not has_key and not self._keyless:
            self._tally.skipped["its actor has key=None, so it may run twice: --yes"] += 1
            return
        deadline = time.monotonic() + self._broker.publish_timeout_seconds
        body, properties = envelope.body(message), envelope.properties(message)
        post = Post(topology.JOBS, message.queue_name, body, properties, deadline, repeatable=has_key)
        self._wait_for_its_turn(held)
        self._broker.publisher.publish([post])
        self._in_flight.append((letter, post))

    def _wait_for_its_turn(self, held: DeadQueue) -> None:
        while self._pause and (left := self._next - time.monotonic()) > 0:
            held.turn(min(left, _TURN_SECONDS))
            self._settle(held)
        self._next = max(self._next, time.monotonic()) + self._pause

    def _turn(self, held: DeadQueue) -> None:
        held.turn(_TURN_SECONDS)
        self._settle(held)

    def _settle(self, held: DeadQueue) -> None:
        while self._in_flight and self._in_flight[0][1].is_done:
            letter, post = self._in_flight[0]
            post.wait(0)  # raises what went wrong
            held.settle(letter)
            self._in_flight.popleft()
            self._count(letter, post)

    def _settle_the_rest(self, held: DeadQueue) -> None:
        """Wait for what is on its way: settled now, it is not sent twice later."""
        failure: PublishError | None = None
        while self._in_flight:
            try:
                self._turn(held)
            except PublishError as error:
                self._in_flight.popleft()
                failure = failure or error
        if failure is not None:
            raise failure

    def _count(self, letter: Letter, post: Post) -> None:
        tally = self._tally
        tally.done += 1
        tally.last = letter
        tally.repeatable += not post.repeatable
        if tally.jobs is not None:
            key = key_of(letter, self._broker.actors.get(letter.actor))
            if key is not None:
                tally.jobs.append((letter.actor, key, letter.generation + 1))
