"""A request with an Idempotency-Key is remembered, so that its repetition is answered and not done again.

    (no row) ──claim──▶ claimed ──answer──▶ answered: every repetition gets that answer
                          │  ▲
                          └──┘ release, or the claim's time is over: the next repetition claims it

The message's id follows from the request. So a claim whose gateway died, before or after it published, may be taken
over: the same message published twice is one job. For that reason no commit here waits for the disk.
"""

from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, select, update

from workers.store import tables
from workers.store.engine import insert_unless_there, moment, now, outages


class Request(NamedTuple):
    """One request.

    Attributes:
      token: who asks; each has a space of keys of its own.
      fingerprint: alike for the same actor and the same body.
      message_id, actor, key: the job that it asks for; key None: no record is kept of it.
    """

    token: str
    idempotency_key: str
    fingerprint: str
    message_id: str
    actor: str
    key: str | None


class Claim(NamedTuple):
    """What is to be done about a request.

    Attributes:
      outcome: publish it; it is answered; somebody else publishes it now; or the key was used for something else.
      answer: what it was answered with.
      wait_seconds: for how long at most somebody else has it.
    """

    outcome: Literal["publish", "answered", "running", "other"]
    answer: str = ""
    wait_seconds: float = 0.0


class Accepted(NamedTuple):
    """A request whose message RabbitMQ has."""

    actor: str
    key: str | None
    since: datetime


def claim(connection: Connection, request: Request, *, lease: timedelta) -> Claim:
    """Find out whether to publish a request's message. Of any number at the same time, one is told to.

    Parameters:
      lease: the others are told to wait that long; then another one may.

    Raises:
      StoreUnavailable: nothing is known.
    """
    with outages("a request could not be looked up"):
        time = moment(connection)
        fresh = {**request._asdict(), "created_at": time, "claimed_until": time + lease}
        if insert_unless_there(connection, tables.requests, fresh):
            return Claim("publish")
        here = now(connection)
        known = connection.execute(select(tables.requests).where(_is(request)).with_for_update()).one()
        if known.fingerprint != request.fingerprint:
            return Claim("other")
        if known.answer is not None:
            return Claim("answered", answer=known.answer)
        if known.claimed_until > here:
            return Claim("running", wait_seconds=(known.claimed_until - here).total_seconds())
        connection.execute(update(tables.requests).where(_is(request)).values(claimed_until=here + lease))
        return Claim("publish")


def answer(connection: Connection, request: Request, said: str) -> None:
    """Remember what a request was answered with: RabbitMQ has confirmed its message.

    Raises:
      StoreUnavailable: it is not remembered; its next repetition publishes the same message again.
    """
    with outages("an answer could not be recorded"):
        connection.execute(update(tables.requests).where(_is(request)).values(answer=said))


def release(connection: Connection, request: Request) -> None:
    """Let the next repetition publish it at once.

    Raises:
      StoreUnavailable: it has to wait until the claim's time is over.
    """
    with outages("a request could not be released"):
        open_claim = and_(_is(request), tables.requests.c.answer.is_(None))
        connection.execute(update(tables.requests).where(open_claim).values(claimed_until=now(connection)))


def accepted(connection: Connection, message_id: str) -> Accepted | None:
    """The request whose message has this id, when it has been answered.

    Raises:
      StoreUnavailable: the store can't be reached.
    """
    columns = tables.requests.c
    wanted = select(columns.actor, columns.key, columns.created_at)
    with outages("a request could not be looked up"):
        found = connection.execute(
            wanted.where(columns.message_id == message_id, columns.answer.is_not(None)).limit(1)
        ).one_or_none()
    return None if found is None else Accepted(*found)


def _is(request: Request) -> ColumnElement[bool]:
    columns = tables.requests.c
    return and_(columns.token == request.token, columns.idempotency_key == request.idempotency_key)
