"""The job that this thread is running, as the job itself sees it."""

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from dramatiq import Message
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from workers.contracts import arguments_hash
from workers.errors import ConfigurationError, PermanentFailure, StoreUnavailable
from workers.store import keys, outbox
from workers.store.engine import begin, read_only
from workers.store.keys import Claim

MESSAGE_ID: Final = "the message id"

_current: ContextVar["Job | None"] = ContextVar("dutiful_job", default=None)


class Job:
    """One attempt at a job.

    Attributes:
      id: the message's id; a retry keeps it.
      actor: the actor's name.
      key: what makes two messages the same job; None where the actor keeps no record.
      attempt: which try this is, from 1.
      generation: how often the job has been replayed.
      engine: the store's engine, for small transactions of your own before the one that ends the job.
      ended: its transaction has committed, so it is done whatever happens next.
    """

    def __init__(self, *, id: str, actor: str, attempt: int, generation: int, engine: Engine) -> None:  # noqa: A002  its name
        self.id = id
        self.actor = actor
        self.attempt = attempt
        self.generation = generation
        self.engine = engine
        self.key: str | None = None
        self.arguments_hash = ""
        self.claim: Claim | None = None
        self.holder = ""
        self.ended = False
        self._arguments: dict[str, Any] | None = None
        self._outgoing: list[outbox.Outgoing] | None = None
        self._children: Counter[str] = Counter()

    @property
    def canceled(self) -> bool:
        """Whether somebody has canceled the job since it began; it asks the store.

        A long job looks between two steps, and raises any error to stop: it isn't tried again.

        Raises:
          StoreUnavailable: the store can't be reached.
        """
        if self.key is None:
            return False
        with begin(read_only(self.engine)) as connection:
            record = keys.find(connection, self.actor, self.key)
        return record is not None and record.state == "canceled"

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction on the store's database that only reads, however long; it keeps no job from being claimed."""
        with read_only(self.engine).connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction on the store's database that ends the job, at most once a job.

        Leaving the block commits your effect, the record that the job is done, and the messages sent inside it, in one
        commit. An exception rolls all of it back.

        Raises:
          PermanentFailure: it can't hold here: the actor keeps no record (key=None), or the job has ended already.
          ClaimLost: another process has taken the job over; nothing was committed.
        """
        if self.key is None or self.claim is None:
            raise PermanentFailure(
                f"{self.actor} can't use transaction()", expected="an actor with a key", received="key=None: no record"
            )
        if self.ended:
            raise PermanentFailure(
                f"{self.actor} has ended already", expected="transaction() at most once a job", received="a second one"
            )
        with begin(self.engine) as connection:
            self._outgoing = []
            try:
                yield connection
                outbox.add(connection, actor=self.actor, key=self.key, messages=self._outgoing)
                keys.complete(connection, actor=self.actor, key=self.key, holder=self.holder, fence=self.claim.fence)
            except DBAPIError as error:
                # The block may talk to other databases too; this one being away is no fault of the job's.
                if connection.invalidated:
                    raise StoreUnavailable("the store went away", received=type(error.orig).__name__) from error
                raise
            finally:
                self._outgoing = None
        self.ended = True

    def validated(self, arguments: dict[str, Any]) -> None:
        """Keep the arguments that the contract has accepted for the call to come."""
        self._arguments = arguments

    def take_arguments(self, actor: str) -> dict[str, Any] | None:
        """The validated arguments, once, for the actor whose job this is."""
        if actor != self.actor:
            return None
        arguments, self._arguments = self._arguments, None
        return arguments

    def claimed(self, claim: Claim, holder: str) -> None:
        """Keep the right to record how it ends."""
        self.claim, self.holder = claim, holder

    def collect(self, message: Message[Any], delay: int | None) -> bool:
        """Keep a message for the commit; False outside a transaction, where it is published at once."""
        if self._outgoing is None:
            return False
        self._outgoing.append(outbox.Outgoing(message.message_id, message.encode(), delay))
        return True

    def child_id(self, actor: str, wire: dict[str, object]) -> str:
        """The id of a message sent by this job: the same when another attempt sends the same again."""
        what = arguments_hash(actor, wire)
        self._children[what] += 1
        return str(uuid.uuid5(uuid.UUID(int=0), f"{self.id}/{what}/{self._children[what]}"))


def current_job() -> Job:
    """The job that is running here.

    Raises:
      ConfigurationError: nothing is: the function was called directly.
    """
    job = _current.get()
    if job is None:
        raise ConfigurationError(
            "no job is running here", expected="a call from inside a job", received="a direct call of the function"
        )
    return job


def running_job() -> Job | None:
    """The job that is running here, or None."""
    return _current.get()


def enter(job: Job | None) -> None:
    """Make it this thread's job; None when it has ended."""
    _current.set(job)
