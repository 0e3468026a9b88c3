"""A lookup says what has become of a job, from what the store knows, and what it can't know."""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import dramatiq
from sqlalchemy import Engine

from workers import jobs
from workers.declaration import Actor
from workers.jobs import Holder
from workers.keys import checked_key
from workers.store import keys, requests
from workers.store.engine import begin, outages, read_only
from workers.store.keys import Record

# The store's word for it, and what it means to whoever asked for the job.
_TOLD: Final = {
    "waiting": ("waiting", "an attempt has ended, and the next one waits for its time"),
    "running": ("running", "it has begun, and has not ended"),
    "done": ("done", "it has succeeded"),
    "dead": ("dead", "it has failed, and waits as a dead letter until a person decides"),
    "discarded": ("dead", "it has failed, and a person has discarded it: it will not run again"),
    "canceled": ("canceled", "a person has canceled it: it does not begin, or is not tried again"),
}
_ACCEPTED: Final = "it was accepted, and no worker has begun it"
_NO_RECORD: Final = "no record is kept of this actor's jobs, so nobody can say"
_UNKNOWN: Final = (
    "the store knows nothing of it: it waits for its first attempt, or its record is gone by its age, or there never "
    "was such a job. A job with a key of its own is found by actor and key, as in the answer's Location"
)


class Found(NamedTuple):
    """What is known of a job.

    Attributes:
      state: waiting, running, done, dead, canceled or unknown.
      meaning: the same in a sentence.
      since: when that began; None where it is not known.
      attempt: the number of the latest one; 0: none has begun, or it is not known.
    """

    id: str
    actor: str | None
    key: str | None
    state: str
    meaning: str
    since: datetime | None = None
    attempt: int = 0

    def document(self) -> dict[str, Any]:
        """As JSON takes it."""
        return self._asdict() | {"since": self.since and self.since.isoformat()}


def find(
    engine: Engine, actors: Collection[dramatiq.Actor[..., Any]], message_id: str, key: str | None = None
) -> Found:
    """What is known of a job. No table is read through for it.

    Parameters:
      actors: whose job it may be.
      key: the job's, where that isn't its message's id.

    Raises:
      ContractError: no job can have such an id or key.
      StoreUnavailable: the store can't be reached.
    """
    checked_key("a job", message_id)
    by_name = {str(actor.actor_name): actor for actor in actors}
    with outages("a job could not be looked up"), begin(read_only(engine)) as connection:
        request = requests.accepted(connection, message_id)
        if request is not None and request.actor not in by_name:
            request = None  # somebody else's: not to be told
        wanted = checked_key("a job", key if key is not None else (request and request.key) or message_id)
        names = [request.actor] if request is not None else sorted(by_name)
        for name in names:
            record = keys.find(connection, name, wanted)
            if record is not None:
                holder = jobs.holder_of(connection, record.holder) if record.holder is not None else None
                return _known(message_id, record, holder)
    if request is not None:
        if request.key is None:
            return Found(message_id, request.actor, None, "unknown", _NO_RECORD)
        return Found(message_id, request.actor, request.key, "waiting", _ACCEPTED, request.since)
    return Found(message_id, next(_only(by_name), None), key, "unknown", _unknown(list(by_name.values())))


def _known(message_id: str, record: Record, holder: Holder | None) -> Found:
    state, meaning = _TOLD[record.state]
    if state == "running" and (holder is None or not holder.alive):
        meaning = "it has begun, in a process that is gone; another one takes it over"
    return Found(message_id, record.actor, record.key, state, meaning, record.updated_at, record.attempt)


def _only(by_name: Collection[str]) -> Iterator[str]:
    """The one name, where there is but one."""
    if len(by_name) == 1:
        yield from by_name


def _unknown(actors: list[dramatiq.Actor[..., Any]]) -> str:
    if len(actors) == 1 and isinstance(actors[0], Actor) and actors[0].key is None:
        return _NO_RECORD
    return _UNKNOWN
