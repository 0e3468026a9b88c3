"""A job, as a publisher makes it: checked before it is sent, and the same each time it is sent."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_jsonable_python

from .. import wire
from ..depth import refuse_too_deep
from ..errors import ContractError
from .known import KnownContracts
from .traces import traceparent_of_now

MAX_MESSAGE_BYTES: Final = 1_048_576
_LONGEST_KEY: Final = 255


@dataclass(frozen=True)
class Job:
    """One asked-for run of an actor. To publish the very same one again is no second job.

    Attributes:
      actor_name, queue_name: what runs, and where it waits.
      kwargs: the arguments by name, as JSON types.
      options: what travels beside them.
      message_id: a UUID, or the id that was given.
      message_timestamp: milliseconds since 1970.
      delay: how long RabbitMQ keeps it back; None: not at all.
      is_repeatable: a second copy would not run twice. Unknown without a key and without a contract, so False there.
    """

    actor_name: str
    queue_name: str
    kwargs: Mapping[str, Any]
    options: Mapping[str, Any]
    message_id: str
    message_timestamp: int
    delay: timedelta | None = None
    is_repeatable: bool = False
    args: tuple[Any, ...] = ()
    body: bytes = field(default=b"", repr=False)

    @property
    def key(self) -> str | None:
        """The key that was given."""
        return self.options.get("key")


class Workshop:
    """Makes jobs.

    Parameters:
      contracts: what actors take; None: the worker alone says.
      max_message_bytes: as the workers' DUTIFUL_RABBITMQ__MAX_MESSAGE_BYTES.
    """

    def __init__(self, contracts: KnownContracts | None, max_message_bytes: int) -> None:
        self._contracts = contracts
        self._max_message_bytes = max_message_bytes

    def make(
        self,
        actor: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        key: str | None = None,
        delay: timedelta | None = None,
        at: datetime | None = None,
        expires_in: timedelta | None = None,
        message_id: str | None = None,
        traceparent: str | None = None,
    ) -> Job:
        """A job, ready to be sent.

        Parameters:
          actor: its name.
          arguments: by name; what pydantic can write as JSON: models, dates, UUIDs too.
          queue: where it waits; may be left out where the contract is known.
          key: what makes two messages the same job; default: the actor's own template, or the message's id.
          delay, at: when it is due, the one or the other; `at` is aware of its time zone.
          expires_in: after so long it is of no use any more, and becomes a dead letter.
          message_id: one of your own.
          traceparent: W3C trace context; default: OpenTelemetry's, where that is set up.

        Raises:
          ContractError: it is not what the actor takes, or can't be carried.
        """
        kwargs = _as_json(actor, arguments or {})
        contract = self._contracts.contract(actor) if self._contracts is not None else None
        if contract is not None:
            contract.check(kwargs)
        where = queue or (contract.queue if contract is not None else "")
        if not where:
            raise ContractError(
                f"a job of {actor} can't be made", expected="queue=…, or the actor's contract", received="neither"
            )
        options = {
            "key": _checked_key(actor, key),
            "traceparent": traceparent or traceparent_of_now(),
            "expires_in": None if expires_in is None else int(expires_in.total_seconds() * 1000),
        }
        job = Job(
            actor_name=actor,
            queue_name=where,
            kwargs=kwargs,
            options={name: value for name, value in options.items() if value is not None},
            message_id=message_id if message_id is not None else str(uuid.uuid4()),
            message_timestamp=time.time_ns() // 1_000_000,
            delay=_wait(actor, delay, at),
            is_repeatable=key is not None if contract is None else contract.keeps_a_record,
        )
        wire.refuse_long_words(job)
        return self._with_body(job)

    def _with_body(self, job: Job) -> Job:
        body = wire.body(job)
        if len(body) > self._max_message_bytes:
            raise ContractError(
                f"a message for {job.actor_name} is too large",
                expected=f"at most {self._max_message_bytes} bytes: send a reference instead of the data",
                received=f"{len(body)} bytes",
            )
        object.__setattr__(job, "body", body)  # the only moment at which it is not there yet
        return job


def _as_json(actor: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = to_jsonable_python(dict(arguments), inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise ContractError(
            f"the arguments of {actor} can't be written as JSON", expected="JSON types", received=str(error)
        ) from None
    refuse_too_deep(actor, found)
    return dict(found)


def _checked_key(actor: str, key: str | None) -> str | None:
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= _LONGEST_KEY and "\0" not in key):
        raise ContractError(
            f"a job of {actor} has a key that can't be stored",
            expected=f"text of 1 to {_LONGEST_KEY} characters",
            received=f"{type(key).__name__} {str(key)[:40]!r}",
        )
    return key


def _wait(actor: str, delay: timedelta | None, at: datetime | None) -> timedelta | None:
    if at is None:
        return delay if delay is not None and delay > timedelta() else None
    if delay is not None or at.tzinfo is None:
        raise ContractError(
            f"a job of {actor} has no clear time",
            expected="delay= or at=, which is aware of its time zone",
            received="both" if delay is not None else f"at={at} without a time zone",
        )
    return max(at - datetime.now(UTC), timedelta()) or None
