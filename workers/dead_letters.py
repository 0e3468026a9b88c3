"""Dead letters can be listed, grouped, shown, replayed and discarded here; the commands are thin over it."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from workers.choice import Choice
from workers.dead_queue import DeadQueue
from workers.errors import ConfigurationError
from workers.letter import Letter, key_of
from workers.rabbitmq import DutifulBroker
from workers.replay import Replay, Tally
from workers.store import audit
from workers.store.discards import discard as discard_keys
from workers.store.engine import begin
from workers.transport import topology

_BATCH: Final = 500
_MOST_GROUPS: Final = 10_000


@dataclass
class Group:
    """Letters that failed alike.

    Attributes:
      count: how many.
      replayed: how many of them have failed again after a replay.
      first, last: when the first and the last of them failed.
      example: the id of one.
    """

    fingerprint: str
    reason: str
    actor: str
    why: str
    example: str
    count: int = 0
    replayed: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, letter: Letter) -> None:
        """Count one more."""
        self.count += 1
        self.replayed += letter.generation > 0
        moment = letter.failed_at
        if moment is not None:
            self.first = min(self.first or moment, moment)
            self.last = max(self.last or moment, moment)


def queues_of(broker: DutifulBroker, choice: Choice) -> list[str]:
    """The names of the dead queues that a choice is about.

    Raises:
      ConfigurationError: no actor reads the queue.
    """
    known = {name: topology.dead_queue(name) for name in sorted(broker.get_declared_queues())}
    known[topology.UNDELIVERABLE] = topology.UNDELIVERABLE
    if choice.queue is None:
        return list(known.values())
    if choice.queue.removesuffix(".XQ") not in known:
        raise ConfigurationError(
            "no such queue", expected=f"one of {', '.join(known)}", received=choice.queue, safe_to_retry=True
        )
    return [known[choice.queue.removesuffix(".XQ")]]


def letters(broker: DutifulBroker, choice: Choice) -> Generator[Letter, None, None]:
    """Each chosen letter, queue by queue, oldest first, in memory one at a time. Nothing is taken out.

    While it goes on, the letters are held, and others are refused; close it, or use it up, soon.

    Raises:
      QueueHeld: somebody else is looking.
      BrokerUnreachable: the connection was lost.
    """
    for name in queues_of(broker, choice):
        with DeadQueue(broker, name, audit.operator()) as held:
            yield from filter(choice, held.letters())


def groups(broker: DutifulBroker, choice: Choice) -> list[Group]:
    """The chosen letters by what they have in common, the largest group first. Beyond 10,000 kinds, the rest is one."""
    found: dict[str, Group] = {}
    for letter in letters(broker, choice):
        name = letter.fingerprint
        if name not in found:
            if len(found) >= _MOST_GROUPS:
                found.setdefault("", Group("", "many", "", "more than 10,000 kinds", letter.id)).add(letter)
                continue
            why = letter.why.partition("\n")[0][:200]
            found[name] = Group(name, letter.reason, letter.actor, why, letter.id)
        found[name].add(letter)
    return sorted(found.values(), key=lambda each: -each.count)


def replay(
    broker: DutifulBroker,
    choice: Choice,
    *,
    reason: str,
    rate: float | None = None,
    again: bool = False,
    keyless: bool = False,
    keep_jobs: bool = False,
    progress: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Send the chosen letters again: same id and key, first attempt, a higher generation.

    Parameters:
      reason: why; it is kept in the audit trail.
      rate: letters a second; None: as fast as it goes.
      again: also those that have failed again three times. Letters that are named by their ids always are.
      keyless: also jobs with key=None. One that had done its work before it failed runs twice by it.
      keep_jobs: note what workers.store.outcomes asks for.
      progress: told after each letter.

    Raises:
      QueueHeld, PublishError: it ends; everything that was not confirmed is still there. Do it again.
    """
    tally = Tally(jobs=[] if keep_jobs else None)
    act = Replay(
        broker,
        choice,
        tally,
        rate=rate,
        again=again or bool(choice.ids),
        keyless=keyless,
        progress=lambda: progress(tally),
    )
    with _audited(broker, "replay dead letters", choice, reason, tally):
        for name in queues_of(broker, choice):
            with DeadQueue(broker, name, audit.operator()) as held:
                act.run(held)
    return tally


def discard(
    broker: DutifulBroker, choice: Choice, *, reason: str, progress: Callable[[Tally], None] = lambda _: None
) -> Tally:
    """Throw the chosen letters away, for good. Their keys say *discarded*, and no late copy runs.

    Raises:
      QueueHeld, StoreUnavailable: it ends; what is not discarded is still there. Do it again.
    """
    tally = Tally()
    with _audited(broker, "discard dead letters", choice, reason, tally):
        for name in queues_of(broker, choice):
            with DeadQueue(broker, name, audit.operator()) as held:
                batch: list[Letter] = []
                for letter in held.letters():
                    tally.looked += 1
                    if choice(letter):
                        batch.append(letter)
                    if len(batch) >= _BATCH:
                        _discard(broker, held, batch, tally)
                        batch = []
                    progress(tally)
                _discard(broker, held, batch, tally)
    return tally


def _discard(broker: DutifulBroker, held: DeadQueue, batch: Sequence[Letter], tally: Tally) -> None:
    keyed = [(each, key_of(each, broker.actors.get(each.actor))) for each in batch]
    jobs = {(each.actor, key, each.generation) for each, key in keyed if key is not None}
    with begin(broker.store) as connection:
        discard_keys(connection, list(jobs))
    for each in batch:
        held.settle(each)
        tally.done, tally.last = tally.done + 1, each


@contextmanager
def _audited(broker: DutifulBroker, action: str, choice: Choice, reason: str, tally: Tally) -> Iterator[None]:
    """Say before that it begins, and afterwards how many it were, also when it breaks off."""
    _note(broker, action, reason, f"begins: {choice}")
    try:
        yield
    finally:
        last = tally.last if tally.done == 1 else None
        key = key_of(last, broker.actors.get(last.actor)) if last else None
        skipped = "".join(f", {count} skipped: {why}" for why, count in tally.skipped.items())
        detail = f"ended: {tally.done} of {tally.looked}{skipped}; {choice}"
        _note(broker, action, reason, detail, actor=last.actor if last else None, key=key)


def _note(
    broker: DutifulBroker, action: str, reason: str, detail: str, *, actor: str | None = None, key: str | None = None
) -> None:
    with begin(broker.store) as connection:
        audit.write(connection, who=audit.operator(), action=action, reason=reason, actor=actor, key=key, detail=detail)
