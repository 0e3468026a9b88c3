"""Acceptance turns a request into a message: checked, published, confirmed, and only then answered."""

import json
import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import dramatiq
from dramatiq import Message
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from workers.contracts import arguments_hash
from workers.declaration import Actor
from workers.errors import ContractError, DutifulError, PublishUnconfirmed, StoreUnavailable
from workers.gateway import body
from workers.gateway.body import Order
from workers.gateway.problems import Refusal
from workers.job_broker import JobBroker
from workers.keys import KeyTemplate, checked_key
from workers.store import requests
from workers.store.engine import begin, relaxed
from workers.store.requests import Request

_NAMESPACE: Final = uuid.UUID("5f0c7c2e-5d0e-4f0b-9d3a-0d6f6c1b8a11")  # of the ids that follow from requests
_MARGIN: Final = timedelta(seconds=5)
_CONNECTIONS: Final = 8
_TURN_SECONDS: Final = 10.0

_log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """A request that was let in.

    Attributes:
      token: the id of whoever asks.
      body: as it came.
    """

    token: str
    actor: dramatiq.Actor[..., Any]
    body: bytes
    idempotency_key: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a request is answered with.

    Attributes:
      text: JSON.
      replayed: the same request was answered before.
    """

    text: str
    replayed: bool = False

    @property
    def said(self) -> dict[str, Any]:
        """The JSON's object."""
        found: dict[str, Any] = json.loads(self.text)
        return found

    @property
    def location(self) -> str:
        """Where to ask what became of the job."""
        said = self.said
        known_by = {"actor": said["actor"]} | ({"key": said["key"]} if said["key"] not in {None, said["id"]} else {})
        return f"/v1/jobs/{quote(said['id'], safe='')}?{urlencode(known_by)}"


class Acceptance:
    """Accepts requests. It waits for the broker and the store, so it belongs on a thread.

    Parameters:
      broker: where the messages go.
    """

    def __init__(self, broker: JobBroker) -> None:
        self.broker = broker
        self.store = relaxed(broker.store)  # what a power cut undoes is published again, under the same id
        # A connection for each thread would be opened and closed each time: a pool keeps fewer.
        self._turns = threading.BoundedSemaphore(_CONNECTIONS)
        self.lease = timedelta(seconds=getattr(broker, "publish_timeout_seconds", 0)) + _MARGIN

    def accept(self, asked: Asked) -> Answer:
        """Publish what a request asks for, and return when RabbitMQ has confirmed it; or its first answer again.

        Raises:
          ContractError: the arguments don't match the actor's contract.
          Refusal: the body is no order, the same request is being served, or its key was used for another one.
          PublishError: it was not, or perhaps not, taken.
          StoreUnavailable: whether it came before can't be told; nothing was sent.
        """
        name = asked.actor.actor_name
        order = body.parse(name, asked.body)
        fingerprint = arguments_hash(name, order.model_dump())
        message_id = None
        if asked.idempotency_key is not None:
            parts = json.dumps([asked.token, asked.idempotency_key, fingerprint])
            message_id = str(uuid.uuid5(_NAMESPACE, parts))
        message, key = _message(asked, order, message_id)
        self.broker.refuse(message)
        answer = Answer(json.dumps({"id": message.message_id, "key": key, "actor": name, "queue": message.queue_name}))
        delay = int(order.delay_seconds * 1000) or None
        if asked.idempotency_key is None:
            self._publish(message, delay, repeatable=key not in {None, message.message_id})
            return answer
        request = Request(asked.token, asked.idempotency_key, fingerprint, message.message_id, name, key)
        return self._accept_once(request, message, delay, answer)

    def _accept_once(self, request: Request, message: Message[Any], delay: int | None, answer: Answer) -> Answer:
        with self._connection() as connection:
            claim = requests.claim(connection, request, lease=self.lease)
        if claim.outcome == "answered":
            return Answer(claim.answer, replayed=True)
        if claim.outcome != "publish":
            raise _refusal(claim)
        try:
            self._publish(message, delay, repeatable=request.key is not None)
        except BaseException:
            self._note(request, None)
            raise
        self._note(request, answer.text)
        return answer

    def _publish(self, message: Message[Any], delay: int | None, *, repeatable: bool) -> None:
        try:
            self.broker.publish(message, delay=delay)
        except PublishUnconfirmed as error:
            error.safe_to_retry = repeatable  # else the next request would be a job of its own
            raise

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        if not self._turns.acquire(timeout=_TURN_SECONDS):
            raise StoreUnavailable("the store is too slow", expected="an answer in time", received="none")
        try:
            with begin(self.store) as connection:
                yield connection
        finally:
            self._turns.release()

    def _note(self, request: Request, answer: str | None) -> None:
        """Remember how it went. What can't be noted is published once more, under the same id."""
        try:
            with self._connection() as connection:
                if answer is None:
                    requests.release(connection, request)
                else:
                    requests.answer(connection, request, answer)
        except (DutifulError, SQLAlchemyError) as error:
            _log.warning("the answer to a request could not be kept: %s", error)


def _message(asked: Asked, order: Order, message_id: str | None) -> tuple[Message[Any], str | None]:
    """The message that a request asks for, and its job's key, as this release of the actor has it.

    Raises:
      ContractError: the arguments don't match, or the key can't be one.
    """
    actor = asked.actor
    options: dict[str, Any] = {"kwargs": order.arguments}
    if asked.traceparent is not None:
        options["traceparent"] = asked.traceparent
    if order.key is not None:
        options["key"] = checked_key(actor.actor_name, order.key)
    message = actor.message_with_options(**options)
    if message_id is not None:
        message = message._replace(message_id=message_id)
    if not isinstance(actor, Actor) or actor.key is not None:
        return message, order.key or _key(actor, order, message.message_id)
    if order.key is not None:
        raise ContractError(
            f"{actor.actor_name} takes no key",
            expected="no key: it keeps no record, and each message runs",
            received="a key",
        )
    return message, None


def _key(actor: dramatiq.Actor[..., Any], order: Order, message_id: str) -> str:
    """What the worker will work out."""
    if not isinstance(actor, Actor) or not isinstance(actor.key, KeyTemplate):
        return message_id
    return actor.key(actor.contract.check((), order.arguments).values)


def _refusal(claim: requests.Claim) -> Refusal:
    if claim.outcome == "running":
        return Refusal(
            "in_progress",
            "a request with this Idempotency-Key is being served",
            expected="its answer, when it is asked for again",
            received="the same request",
            safe_to_retry=True,
            headers={"Retry-After": str(max(1, round(claim.wait_seconds)))},
        )
    return Refusal(
        "key_used",
        "this Idempotency-Key was used for another request",
        expected="the actor and the body that came first, or another key",
        received="another actor or body",
    )
