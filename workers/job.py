"""The job that this thread is running, as the job itself sees it."""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from dramatiq import Message
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from workers.contracts import arguments_hash
from workers.errors import PermanentFailure, StoreUnavailable
from workers.event_loop import is_event_loop
from workers.store import checkpoints, groups, keys, outbox
from workers.store.engine import begin, read_only
from workers.store.keys import Claim, Ending, State, Within
from workers.store.outbox import Outgoing

MESSAGE_ID: Final = "the message id"
_NOTHING: Final = object()


class Job:
    """One attempt at a job.

    Attributes:
      id: the message's id; a retry keeps it.
      actor: the actor's name.
      key: what makes two messages the same job; None where the actor keeps no record.
      attempt: which try this is, from 1.
      generation: how often the job has been replayed.
      deadline: when the soft time limit ends the attempt, aware, in UTC; None where there is no limit.
      checkpoint: what the job last committed with `transaction(checkpoint=…)`, in whichever attempt; None at first.
      engine: the store's engine, for small transactions of your own before the one that ends the job.
      connection: that of the `transaction()` that is open here; None outside of one.
      ended: its transaction has committed, so it is done whatever happens next.
      unsent: a commit has stored messages that are not published yet; `send_left` publishes them.
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
        self.deadline: datetime | None = None
        self.checkpoint: Any = None
        self.connection: Connection | None = None
        self.ended = False
        self.unsent = False
        self.group: str | None = None
        self._group_callbacks: Sequence[Outgoing] = ()
        self._arguments: dict[str, Any] | None = None
        self._outgoing: list[Outgoing] | None = None
        self._children: dict[str, int] = {}
        self._result: Any = _NOTHING
        self._follow: Callable[[Any], list[Outgoing]] | None = None
        self._following: list[Outgoing] | None = None
        self.send_left: Callable[[Job], None] | None = None

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
    def transaction(self, *, checkpoint: Any = _NOTHING) -> Iterator[Connection]:
        """A transaction on the store's database: your effect, its record and the messages sent inside are one commit.

        Without a checkpoint it ends the job, at most once a job. With one the job goes on, as often as you like: the
        next attempt finds the last checkpoint in `current_job().checkpoint`. An exception rolls all of it back.

        Parameters:
          checkpoint: what JSON can hold, 64 KiB at most. It is written when the block ends, which may fill it in.

        Raises:
          PermanentFailure: it can't hold here: the actor keeps no record (key=None), the job has ended already, another
            transaction is open, the checkpoint can't be kept, or the result goes to another job and isn't known yet.
          ClaimLost: another process has taken the job over; nothing was committed.
          PublishError: it has committed, with a checkpoint, but some messages are not sent: the next attempt does it.
        """
        ends = checkpoint is _NOTHING
        if self.key is None or self.claim is None:
            raise self._refusal("can't use transaction()", "an actor with a key", "key=None: no record")
        if self.ended:
            raise self._refusal("has ended already", "transaction() without a checkpoint at most once", "another one")
        if self.connection is not None:
            raise self._refusal("is in a transaction", "one transaction() at a time", "one inside another")
        mark = {"actor": self.actor, "key": self.key, "holder": self.holder}
        with self._answered(ends=ends), begin(self.engine) as connection:
            self._outgoing, self.connection = [], connection
            try:
                yield connection
                if ends:
                    self.prepare(self._known_result())
                    self.hand_on(connection)
                    keys.end(connection, self.ending("done"))
                else:
                    self._store(connection, self._outgoing)
                    kept = checkpoints.written(checkpoint, self.actor)
                    checkpoints.save(connection, **mark, fence=self.claim.fence, checkpoint=kept)
            except (DBAPIError, PendingRollbackError) as error:
                # The block may talk to other databases too; this one being away is no fault of the job's.
                if connection.invalidated:
                    raise StoreUnavailable("the store went away", received=type(error).__name__) from error
                raise
            finally:
                self._outgoing = self.connection = None
        if ends:
            self.ended = True
            return
        self.checkpoint = json.loads(kept)
        if self.unsent and self.send_left is not None and not is_event_loop():  # an event loop must not wait
            self.send_left(self)

    @contextmanager
    def _answered(self, *, ends: bool) -> Iterator[None]:
        """After a commit without an answer, the key says whether it has happened."""
        try:
            yield
        except StoreUnavailable:
            if not (ends and self._has_ended()):
                raise

    def _has_ended(self) -> bool:
        assert self.key is not None and self.claim is not None  # noqa: S101, PT018  a transaction was open
        with begin(self.engine) as connection:
            row = keys.find(connection, self.actor, self.key)
        return row is not None and (row.state, row.fence, row.holder) == ("done", self.claim.fence, None)

    def returns(self, result: Any) -> None:
        """Say inside `transaction()` what the job will return: the commit stores the message that takes it further.

        Needed where the result goes to another job (pipeline, `on_success`) and the function isn't annotated `-> None`.
        """
        self._result = result

    def prepare(self, result: Any) -> None:
        """Work out, once, what follows from the result: the pipeline's next job, `on_success`."""
        if self._following is None:
            self._following = self._follow(result) if self._follow is not None else []

    def hand_on(self, connection: Connection) -> None:
        """Store what follows from the job, and count it in its group, within the commit that marks it done."""
        follows = list(self._following or []) if self.key is not None else []
        if self.group is not None:
            follows += groups.count(connection, self.group, self.id, self._group_callbacks)
        self._store(connection, [*(self._outgoing or []), *follows])

    @property
    def hands_on(self) -> bool:
        """Whether anything follows from it."""
        return bool(self._following) or self.group is not None

    @property
    def following(self) -> Sequence[Outgoing]:
        """What `prepare` found."""
        return self._following or []

    @property
    def sender(self) -> str:
        """Under what its messages lie in the outbox: its key, or its id where it has none."""
        return self.key if self.key is not None else self.id

    def followed_by(self, follow: Callable[[Any], list[Outgoing]], *, result: Any = _NOTHING) -> None:
        """Keep how to work out what follows; `result` is given where it is known before the job runs."""
        self._follow = follow
        self._result = result

    def belongs_to(self, group: str, callbacks: Sequence[Outgoing]) -> None:
        """It is a member of a group, and says what follows when the group is complete."""
        self.group, self._group_callbacks = group, callbacks

    def _store(self, connection: Connection, messages: Sequence[Outgoing]) -> None:
        outbox.add(connection, actor=self.actor, key=self.sender, messages=messages)
        self.unsent = self.unsent or bool(messages)

    def _known_result(self) -> Any:
        if self._follow is not None and self._result is _NOTHING:
            raise self._refusal(
                "hands its result on, and transaction() ends it before it returns",
                "current_job().returns(…) inside the block, a function annotated as returning None, or pipe_ignore",
                "no result",
            )
        return self._result

    def _refusal(self, what: str, expected: str, received: str) -> PermanentFailure:
        return PermanentFailure(f"{self.actor} {what}", expected=expected, received=received)

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
        """Keep the right to record how it ends, and go on from its checkpoint."""
        self.claim, self.holder = claim, holder
        if claim.recorded is not None and claim.recorded.checkpoint is not None:
            self.checkpoint = json.loads(claim.recorded.checkpoint)
            self.unsent = True  # what was committed with it, perhaps

    def ending(self, state: State, *, attempt: int | None = None, also: Within | None = None) -> Ending:
        """What is to be recorded of this attempt."""
        assert self.key is not None and self.claim is not None  # noqa: S101, PT018  it was claimed
        return Ending(
            self.actor, self.key, self.holder, self.claim.fence, state, attempt, also=also, group=self.group or ""
        )

    def collect(self, message: Message[Any], delay: int | None) -> bool:
        """Keep a message for the commit; False outside a transaction, where it is published at once."""
        if self._outgoing is None:
            return False
        self._outgoing.append(Outgoing(message.message_id, message.encode(), delay))
        return True

    def child_id(self, actor: str, wire: dict[str, object]) -> str:
        """The id of a message sent by this job: the same when another attempt sends the same again."""
        what = arguments_hash(actor, wire)
        self._children[what] = self._children.get(what, 0) + 1
        return str(uuid.uuid5(uuid.UUID(int=0), f"{self.id}/{what}/{self._children[what]}"))
