"""A letter is one dead letter as it lies in its queue, read with care: anybody may have written it."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from dramatiq import Message

from workers import envelope, post_mortem
from workers.contracts import Contract
from workers.declaration import Actor
from workers.errors import ContractError
from workers.keys import KeyTemplate
from workers.masking import masked, masked_text
from workers.transport import topology

_UNKNOWN: Final = "unknown"
_SHOWN_BYTES: Final = 2_000
_WHY: Final = {
    "delivery_limit": "RabbitMQ delivered it 50 times without an answer: its worker dies each time, or can't settle it",
    "expired": "it waited longer than it was allowed to",
    "unroutable": "it became due when its queue was gone",
    _UNKNOWN: "it has no reason: somebody has put it here by hand",
}


@dataclass(frozen=True)
class Letter:
    """One dead letter.

    Attributes:
      queue: the dead queue that it lies in.
      tag: what it is settled by.
      properties, body: as they came.
    """

    queue: str
    tag: int
    properties: Any
    body: bytes

    @cached_property
    def headers(self) -> dict[str, Any]:
        """Its headers."""
        return self.properties.headers or {}

    @cached_property
    def message(self) -> Message[Any] | None:
        """The message; None when it can't be read."""
        try:
            return envelope.decode(self.body, self.headers)
        except ContractError:
            return None

    @property
    def id(self) -> str:
        """The message's id."""
        return self.properties.message_id or (self.message.message_id if self.message else "")

    @property
    def actor(self) -> str:
        """The actor's name."""
        return self.properties.type or (self.message.actor_name if self.message else "")

    @cached_property
    def reason(self) -> str:
        """Why it is dead, in one word: ours, or RabbitMQ's own where RabbitMQ has moved it."""
        said = self.text("dutiful-reason")
        if said:
            return said
        deaths = self.headers.get("x-death")
        first = deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}
        if self.queue == topology.UNDELIVERABLE:
            return "unroutable"  # the levels of the delay ladder have left their deaths in it
        found = first.get("reason") or self.headers.get("x-first-death-reason")
        return found if isinstance(found, str) else _UNKNOWN

    @property
    def generation(self) -> int:
        """How often it has been replayed."""
        return self.number("dutiful-generation")

    @property
    def fingerprint(self) -> str:
        """What it shares with letters that failed alike."""
        return self.text("dutiful-fingerprint") or post_mortem.fingerprint(self.actor, self.reason, None)

    @property
    def why(self) -> str:
        """What was raised, or what the reason means where nothing was."""
        kind, said = self.text("dutiful-exception-type"), self.text("dutiful-exception-message")
        return f"{kind}: {masked_text(said)}" if kind or said else _WHY.get(self.reason, self.reason)

    @cached_property
    def failed_at(self) -> datetime | None:
        """When it failed last, as far as anything says so."""
        try:
            return datetime.fromisoformat(self.text("dutiful-last-failed-at")).astimezone(UTC)
        except ValueError:
            pass
        deaths = self.headers.get("x-death")
        when = deaths[0].get("time") if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else None
        if not isinstance(when, datetime):
            return None
        return when if when.tzinfo else when.replace(tzinfo=UTC)

    def text(self, header: str) -> str:
        """A header that should be text."""
        value = self.headers.get(header)
        return value if isinstance(value, str) else ""

    def number(self, header: str) -> int:
        """A header that should be a number."""
        value = self.headers.get(header)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    def line(self) -> dict[str, Any]:
        """What a list says of it."""
        return {
            "failed_at": self.failed_at.isoformat(timespec="seconds") if self.failed_at else None,
            "queue": self.queue,
            "reason": self.reason,
            "actor": self.actor,
            "id": self.id,
            "replays": self.generation,
            "fingerprint": self.fingerprint,
            "why": self.why.partition("\n")[0][:200],
        }

    def details(self) -> dict[str, Any]:
        """All that is known of it; what looks like a secret is hidden."""
        message = self.message
        failures = message.options.get("failures") if message else None
        return self.line() | {
            "why": self.why,
            "key": self.text("dutiful-key") or None,
            "attempts": self.number("dutiful-attempts") or self.number("dutiful-attempt"),
            "first_failed_at": self.text("dutiful-first-failed-at") or None,
            "worker": self.text("dutiful-worker") or None,
            "version": self.text("dutiful-version") or None,
            "replay_of": self.text("dutiful-replay-of") or None,
            "failures": [str(each) for each in failures] if isinstance(failures, list) else [],
            "arguments": masked({"args": list(message.args), "kwargs": message.kwargs}) if message else None,
            "body": None if message else _glimpse(self.body),
            "bytes": len(self.body),
            "original_headers": masked_text(self.text("dutiful-original")) or None,
            "traceback": masked_text(self.text("dutiful-traceback")) or None,
        }

    def again(self) -> Message[Any] | None:
        """The message of its replay: same id, key and arguments, first attempt, a higher generation; None: no message.

        It goes to the queue that it died in, whatever its body says.
        """
        if self.message is None:
            return None
        dropped = ("attempt", "deferrals", "first_deferred_at", "deliveries", "first_failed_at", "failures", "crashes")
        options = {name: value for name, value in self.message.options.items() if name not in dropped}
        options.pop("requeue_timestamp", None)
        options["generation"] = self.generation + 1
        options["replay_of"] = f"{self.text('dutiful-last-failed-at') or _UNKNOWN} {self.reason} {self.fingerprint}"
        queue = self.message.queue_name if self.queue == topology.UNDELIVERABLE else self.queue.removesuffix(".XQ")
        return self.message._replace(queue_name=queue, options=options)


def key_of(letter: Letter, actor: Any) -> str | None:
    """The key of a letter's job, as a worker would work it out; None: it has none, or nobody can tell.

    Parameters:
      actor: the actor of that name; None: nobody here knows it.
    """
    message = letter.message
    if message is None or (isinstance(actor, Actor) and actor.key is None):
        return None
    given = message.options.get("key")
    if given is not None:
        return str(given)
    template = actor.key if isinstance(actor, Actor) else None
    if not isinstance(template, KeyTemplate):
        return message.message_id
    contract: Contract = actor.contract
    try:
        return template(contract.accept(contract.bind(message.args, message.kwargs)))
    except ContractError:
        return None  # it has never been claimed


def _glimpse(body: bytes) -> str:
    """The beginning of bytes that are no message."""
    text = body[:_SHOWN_BYTES].decode(errors="backslashreplace")
    return masked_text(json.dumps(text, ensure_ascii=False)[1:-1] + ("…" if len(body) > _SHOWN_BYTES else ""))
