"""Verification compares what the broker has with what the actors need, and changes nothing."""

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import quote

from pika import exceptions as amqp

from workers.management import CORRECT, SET, Management, ManagementUnavailable
from workers.queues import NOT_FOUND, ask, vhost_of
from workers.rabbitmq import DutifulBroker
from workers.transport import topology

_OTHER_ARGUMENTS: Final = 406
_INEQUIVALENT: Final = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' for .*?: received (?P<ours>.*) but current is (?P<there>.*)"
)
_A_VALUE: Final = re.compile(r"the value '(.*)' of type '\w+'")
_DECLARE: Final = "dutiful queues declare"
BEYOND: Final = "bindings and policies"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
      severity: wrong: a promise is broken or jobs can't run. warning: a promise may break. unknown: not checked.
      what: which exchange, queue or binding.
      expected: what should be there.
      received: what is there.
      mend: a line for a shell. What a person must decide or do is behind #; capitals are to be filled in.
    """

    severity: Literal["wrong", "warning", "unknown"]
    what: str
    expected: str
    received: str
    mend: str


@dataclass(frozen=True, slots=True)
class Binding:
    """What arrives at `source` with a key goes to `destination`."""

    source: str
    destination: str
    kind: Literal["queue", "exchange"]
    key: str


@dataclass(slots=True)
class Wanted:
    """A stand-in for a channel that notes what the topology asks it to declare."""

    exchanges: dict[str, dict[str, Any]] = field(default_factory=dict)
    queues: dict[str, dict[str, Any]] = field(default_factory=dict)
    bindings: list[Binding] = field(default_factory=list)

    def exchange_declare(self, exchange: str, exchange_type: str, **options: Any) -> None:
        """Note an exchange."""
        self.exchanges[exchange] = {"exchange_type": exchange_type, **options}

    def queue_declare(self, queue: str, **options: Any) -> None:
        """Note a queue."""
        self.queues[queue] = options

    def queue_bind(self, queue: str, exchange: str, routing_key: str | None = None) -> None:
        """Note a binding; without a key, AMQP clients take the queue's name."""
        self.bindings.append(Binding(exchange, queue, "queue", queue if routing_key is None else routing_key))

    def exchange_bind(self, destination: str, source: str, routing_key: str) -> None:
        """Note a binding between exchanges."""
        self.bindings.append(Binding(source, destination, "exchange", routing_key))

    @classmethod
    def by(cls, queues: Iterable[str]) -> "Wanted":
        """What the vhost and these work queues need."""
        wanted = cls()
        topology.declare_vhost(wanted)
        for queue in queues:
            topology.declare_queue(wanted, queue)
        return wanted


def verify(broker: DutifulBroker, queues: Iterable[str], management: Management | None) -> list[Finding]:
    """Everything that is not as the actors need it.

    Each exchange and queue that exists is declared again as we would declare it, which changes nothing; the broker
    refuses when it has another one.

    Raises:
      BrokerUnreachable: there is no connection.
    """
    work = sorted(queues)
    wanted = Wanted.by(work)
    beyond = _Beyond(management)
    findings = []
    missing = set()
    for kind, things in (("exchange", wanted.exchanges), ("queue", wanted.queues)):
        for name, options in things.items():
            finding = _compare(broker, kind, name, options, beyond.facts.get(name) if kind == "queue" else None)
            if finding is not None:
                findings.append(finding)
                missing |= {name} if finding.received == "nothing" else set()
    there = [each for each in wanted.bindings if not {each.source, each.destination} & missing]
    return findings + beyond.findings(there, work)


def _compare(
    broker: DutifulBroker, kind: str, name: str, options: dict[str, Any], facts: dict[str, Any] | None
) -> Finding | None:
    try:
        ask(broker, partial(_declare_again, kind, name, options))
    except amqp.ChannelClosedByBroker as error:
        found = _explain(broker, kind, name, error)
        if error.reply_code != _OTHER_ARGUMENTS or facts is None:
            return found
        # AMQP names the first argument that differs; the management API knows all of them.
        ours, there = options["arguments"], facts.get("arguments", {})
        differ = [each for each in sorted({*ours, *there}) if ours.get(each) != there.get(each)]
        sides = (", ".join(f"{each} = {side.get(each, 'none')!s}" for each in differ) for side in (ours, there))
        return replace(found, expected=next(sides), received=next(sides)) if differ else found
    return None


def _declare_again(kind: str, name: str, options: dict[str, Any], channel: Any, answer: Callable[[Any], None]) -> None:
    declare = channel.exchange_declare if kind == "exchange" else channel.queue_declare
    # Passively first: what is missing must not be made here.
    declare(name, passive=True, callback=lambda _: declare(name, **options, callback=answer))


def _explain(broker: DutifulBroker, kind: str, name: str, error: amqp.ChannelClosedByBroker) -> Finding:
    what = f"{kind} {name}"
    if error.reply_code == NOT_FOUND:
        return Finding("wrong", what, "it exists", "nothing", _DECLARE)
    if error.reply_code != _OTHER_ARGUMENTS:
        return Finding("unknown", what, "an answer", error.reply_text, _let_in(broker, error))
    found = _INEQUIVALENT.search(error.reply_text)
    if found is None:
        return Finding("wrong", what, "what dutiful declares", error.reply_text, _mend(broker, kind, name))
    expected, received = (f"{found['name']} = {_value(found[side])}" for side in ("ours", "there"))
    return Finding("wrong", what, expected, received, _mend(broker, kind, name))


def _value(said: str) -> str:
    return _A_VALUE.sub(r"\1", said).strip("'") or "''"


def _let_in(broker: DutifulBroker, error: amqp.ChannelClosedByBroker) -> str:
    if "RESOURCE_LOCKED" not in error.reply_text:
        return "# use a user who may configure the vhost"
    return f"rabbitmqctl list_queues -p {shlex.quote(vhost_of(broker))} name owner_pid # then stop who holds it"


def _mend(broker: DutifulBroker, kind: str, name: str) -> str:
    vhost = vhost_of(broker)
    if kind == "exchange":  # rabbitmqctl can't delete one
        page = f"http://HOST:15672/api/exchanges/{quote(vhost, safe='')}/{name}"
        return f"curl --fail --user ADMINISTRATOR --request DELETE {page}; {_DECLARE}"
    delete = shlex.join(["rabbitmqctl", "delete_queue", "-p", vhost, name])
    return f"# stop the workers; move what it holds with dutiful queues migrate; once it is empty: {delete}; {_DECLARE}"


class _Beyond:
    """Bindings and policies, which only the management API tells.

    Attributes:
      facts: what it knows of each queue; nothing without it.
    """

    def __init__(self, management: Management | None) -> None:
        self.facts: dict[str, dict[str, Any]] = {}
        self._there: set[tuple[str, str, str, str]] = set()
        self._problem: Finding | None = None
        if management is None:
            self._problem = Finding("unknown", BEYOND, "to read them", "AMQP does not tell them", SET)
            return
        try:
            self._there, self.facts = management.bindings(), management.queues()
        except ManagementUnavailable as error:
            self._problem = Finding("wrong", BEYOND, error.expected, error.received, CORRECT)

    def findings(self, bindings: list[Binding], work: list[str]) -> list[Finding]:
        """What is wrong with them."""
        if self._problem is not None:
            return [self._problem]
        found = [
            Finding(
                "wrong",
                f"{each.kind} {each.destination}",
                f"bound to {each.source} by {each.key}",
                "no binding",
                _DECLARE,
            )
            for each in bindings
            if (each.source, each.destination, each.kind, each.key) not in self._there
        ]
        dead = [topology.dead_queue(queue) for queue in work] + [topology.UNDELIVERABLE]
        ladder = [topology.level(number) for number in range(topology.LEVELS)]
        for names, harms in ((work, _HARM_TO_WORK), (dead, _HARM_TO_DEAD), (ladder, _HARM_TO_DELAYS)):
            for name in names:
                found += _policy(name, self.facts.get(name, {}), harms)
        return found


_FULL: Final = "no limit: a full queue refuses retries and what is delayed"
_GONE: Final = "none: RabbitMQ deletes the queue, jobs and all"
_HARM_TO_WORK: Final = {
    "max-length": _FULL,
    "max-length-bytes": _FULL,
    "message-ttl": "none: jobs that wait longer become dead letters, or come too early",
    "expires": _GONE,
    "delivery-limit": f"{topology.DELIVERY_LIMIT} or more: restarts alone use up a lower one, and a negative one "
    "destroys jobs before RabbitMQ 4.0",
}
_HARM_TO_DELAYS: Final = {**_HARM_TO_WORK, "message-ttl": "none: delayed jobs would come too early"}
_HARM_TO_DEAD: Final = {
    "max-length": "no limit: the oldest dead letters vanish",
    "max-length-bytes": "no limit: the oldest dead letters vanish",
    "message-ttl": "none: dead letters vanish",
    "expires": _GONE,
    "delivery-limit": "none: dead letters that are looked at too often vanish",
}


def _policy(queue: str, facts: dict[str, Any], harms: dict[str, str]) -> list[Finding]:
    rules = facts.get("effective_policy_definition") or {}
    names = " and ".join(filter(None, (facts.get("policy"), facts.get("operator_policy")))) or "a policy"
    return [
        Finding("warning", f"queue {queue}", f"{rule} {harm}", f"{rule} = {rules[rule]}, from {names}", clearing(facts))
        for rule, harm in harms.items()
        if rule in rules
        and not (rule == "delivery-limit" and harms is not _HARM_TO_DEAD and rules[rule] >= topology.DELIVERY_LIMIT)
    ]


def clearing(facts: dict[str, Any]) -> str:
    """What takes the policies of a queue away, of which the management API told these facts."""
    commands = [
        shlex.join(["rabbitmqctl", f"clear_{kind}", "-p", facts["vhost"], facts[kind]])
        for kind in ("policy", "operator_policy")
        if facts.get(kind)
    ]
    return f"# change the policy or its pattern; or: {'; '.join(commands)}"
