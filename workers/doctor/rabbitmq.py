"""RabbitMQ is asked here whether it is the one that the workers need."""

import shlex
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

from workers.doctor.line import Line, ok, refused, unknown, wrong
from workers.doctor.rights import LOOK_AT_ALARMS, grant, wrong_rights
from workers.errors import BrokerUnreachable, ConfigurationError, DutifulError
from workers.management import CORRECT, SET, Management, ManagementUnavailable
from workers.queues import ask, count, vhost_of
from workers.rabbitmq import DutifulBroker
from workers.reaching import reach
from workers.tls import NO_TLS
from workers.transport import topology
from workers.transport.refusal import UNTRUSTED
from workers.users import POLICY, takes_consumer_timeout
from workers.users import release as numbers
from workers.verification import BEYOND, Finding, clearing, verify

OLDEST: Final = (3, 10)
_POLICY: Final = "consumer-timeout"
_TELL: Final = "dutiful users declare --consumer-timeout"
_LOOK: Final = "rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).'"


def reached(broker: DutifulBroker, queues: Iterable[str]) -> tuple[list[Line], str | None]:
    """Whether RabbitMQ answers, and which it is.

    Returns:
      the lines, and RabbitMQ's version; None: there is nothing more to ask it.
    """
    try:
        reach(broker)
        version = str(ask(broker, _version))
    except (BrokerUnreachable, ConfigurationError) as error:
        return [refused("rabbitmq", error, mend=_let_in(broker, queues, error))], None
    return release(version), version


def _let_in(broker: DutifulBroker, queues: Iterable[str], error: DutifulError) -> str:
    """What lets this process in."""
    said = error.received
    if isinstance(error, ConfigurationError):
        if "ACCESS_REFUSED" in said:
            return "# correct user and password in DUTIFUL_RABBITMQ__URL; or, to make its users: dutiful users declare"
        make = f"rabbitmqctl add_vhost {shlex.quote(vhost_of(broker))}; " if "not found" in said else ""
        return make + grant(broker, queues)
    if error.what != UNTRUSTED:
        return "# start RabbitMQ, or correct DUTIFUL_RABBITMQ__URL"
    if said == NO_TLS:
        return "# correct the port in DUTIFUL_RABBITMQ__URL: it is not the one for TLS"
    return "export DUTIFUL_RABBITMQ__CA_PATH=/PATH/TO/ca.pem # or give RabbitMQ a new certificate"


def release(version: str) -> list[Line]:
    """Whether this release of RabbitMQ can keep what the workers need."""
    if numbers(version) >= OLDEST:
        return ok("rabbitmq", f"RabbitMQ {version} answers")
    return [
        wrong(
            "rabbitmq",
            "this RabbitMQ can't dead-letter safely",
            expected=f"{'.'.join(map(str, OLDEST))} or later",
            received=version,
            mend="# upgrade RabbitMQ: docs/running.md says how",
        )
    ]


def vhost_lines(
    broker: DutifulBroker, queues: Iterable[str], management: Management | None
) -> tuple[list[Line], list[Line]]:
    """Whether every exchange, queue and binding is as it must be, and whether a policy breaks a promise.

    Returns:
      the lines about the topology, and those about policies.
    """
    work = sorted(queues)
    findings = verify(broker, work, management)
    refusals = [each for each in findings if "ACCESS_REFUSED" in each.received]
    unasked = [each for each in findings if each.severity == "unknown" and each not in refusals]
    missing = [each for each in findings if each.severity == "wrong" and each.received == "nothing"]
    others = [each for each in findings if each.severity == "wrong" and each.received != "nothing"]
    topology_lines = _missing(missing) + [_line(each) for each in others if _check(each) == "topology"]
    if refusals:
        topology_lines.append(wrong_rights(broker, work, [f"configure {each.what}" for each in refusals]))
    policy_lines = [_line(each) for each in findings if _check(each) == "policies" and each not in unasked]
    for each in unasked:
        found = unknown(_check(each), f"not looked at: {each.what}; {each.received}", mend=each.mend)
        (policy_lines if _check(each) == "policies" else topology_lines).extend(found)
    return (
        topology_lines or ok("topology", f"exchanges and queues for {', '.join(work)}"),
        policy_lines or ok("policies", f"none limits what a queue holds; delivery limit {topology.DELIVERY_LIMIT}"),
    )


def _missing(findings: list[Finding]) -> list[Line]:
    if not findings:
        return []
    names = ", ".join(each.what for each in findings[:6]) + (f" and {len(findings) - 6} more" if findings[6:] else "")
    return [
        wrong("topology", f"missing: {names}", expected="they exist", received="nothing", mend=findings[0].mend),
    ]


def _check(finding: Finding) -> str:
    return "policies" if finding.severity == "warning" or finding.what == BEYOND else "topology"


def _line(finding: Finding) -> Line:
    return wrong(_check(finding), finding.what, expected=finding.expected, received=finding.received, mend=finding.mend)


def consumer_timeout(
    needed: timedelta, queues: Iterable[str], facts: dict[str, dict[str, Any]] | None, version: str
) -> list[Line]:
    """Whether RabbitMQ waits as long for a settlement as the settings say. Only a policy tells that (from 3.12 on).

    Parameters:
      needed: DUTIFUL_RABBITMQ__CONSUMER_TIMEOUT_SECONDS.
      facts: what the management API knows of each queue.
      version: RabbitMQ's.
    """
    check, milliseconds = "consumer_timeout", needed // timedelta(milliseconds=1)
    known = {queue: (facts or {}).get(queue, {}) for queue in queues}
    policies = {
        queue: rules[_POLICY]
        for queue, told in known.items()
        if _POLICY in (rules := told.get("effective_policy_definition") or {})
    }
    short = sorted(queue for queue, stated in policies.items() if stated < milliseconds)
    if short:
        ours = all(known[queue].get("policy") == POLICY for queue in short)
        return [
            wrong(
                check,
                f"RabbitMQ would give jobs of {', '.join(short)} to somebody else while they run",
                expected=f"{_POLICY} of {milliseconds} or more, as DUTIFUL_RABBITMQ__CONSUMER_TIMEOUT_SECONDS says",
                received=f"{min(policies.values())}, from a policy",
                mend=_TELL if ours else clearing(known[short[0]]),
            )
        ]
    if policies and len(policies) == len(known):
        return ok(check, f"{min(policies.values())} ms, from a policy")
    what = f"RabbitMQ does not tell its setting; {milliseconds} ms or more is needed"
    return unknown(check, what, mend=f"{_TELL} # or look: {_LOOK}" if takes_consumer_timeout(version) else _LOOK)


def disks(management: Management | None) -> list[Line]:
    """How near RabbitMQ's nodes are to an alarm for their disk."""
    check = "rabbitmq disk"
    if management is None:
        return unknown(check, "AMQP does not tell RabbitMQ's room", mend=SET)
    try:
        nodes = management.nodes()
    except ManagementUnavailable as error:
        return [refused(check, error, mend=CORRECT)]
    return [line for node in nodes for line in node_room(node)]


def node_room(node: dict[str, Any]) -> list[Line]:
    """Whether one node has raised an alarm, or soon will."""
    name, free, limit = node["name"], node.get("disk_free"), node.get("disk_free_limit")
    if not isinstance(free, int) or not isinstance(limit, int):
        # It looks every few seconds, and has not yet where it has just started.
        return unknown("rabbitmq disk", f"{name} does not know its room", mend="dutiful doctor # once more")
    said = f"{free // 2**20} MB free, the alarm is at {limit // 2**20} MB"
    alarms = [alarm for alarm in ("disk_free_alarm", "mem_alarm") if node.get(alarm)]
    if not alarms and free >= 2 * limit:
        return ok("rabbitmq disk", f"{name}: {said}")
    return [
        wrong(
            "rabbitmq disk",
            f"{name} {'has raised ' + ' and '.join(alarms) if alarms else 'is near its alarm'}",
            expected="no alarm, and twice the room of disk_free_limit",
            received=said,
            mend=LOOK_AT_ALARMS,
        )
    ]


def delayed_for(broker: DutifulBroker) -> list[int]:
    """The levels of the delay ladder in which messages wait."""
    found = ((number, count(broker, topology.level(number))) for number in range(topology.LEVELS))
    return [number for number, held in found if held is not None and held.ready]


def _version(channel: Any, answer: Callable[[Any], None]) -> None:
    answer((channel.connection.server_properties or {}).get("version", "of no version"))
