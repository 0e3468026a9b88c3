"""RabbitMQ is asked here whether it is the one that the workers need."""

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

from dramatiq.errors import ConnectionClosed

from workers.doctor.line import Line, ok, refused, unknown, wrong
from workers.doctor.rights import grant, vhost, wrong_rights
from workers.errors import ConfigurationError
from workers.management import Management, ManagementUnavailable
from workers.queues import count
from workers.rabbitmq import DutifulBroker
from workers.transport import topology
from workers.transport.refusal import distrusted
from workers.verification import Finding, verify

OLDEST: Final = (3, 10)
_SECONDS: Final = 5.0
_POLICY: Final = "consumer-timeout"


def reached(broker: DutifulBroker, queues: Iterable[str]) -> tuple[list[Line], bool]:
    """Whether RabbitMQ answers, and which it is.

    Returns:
      the lines, and whether there is more to ask it.
    """
    check = "rabbitmq"
    try:
        version = str(broker.ask(_version, _SECONDS))
    except ConfigurationError as error:
        mend = f"rabbitmqctl add_vhost {vhost(broker)}; {grant(broker, queues)}"
        return [refused(check, error, mend=mend)], False
    except ConnectionClosed as error:
        found = distrusted(error)
        if found is not None:
            mend = "export DUTIFUL_RABBITMQ__CA_PATH=/PATH/TO/ca.pem, or give RabbitMQ a new certificate"
            return [refused(check, found, mend=mend)], False
        return [
            wrong(
                check,
                "RabbitMQ can't be reached",
                expected="a broker at DUTIFUL_RABBITMQ__URL",
                received=" ".join(str(error).split()),
                mend="start it, or set DUTIFUL_RABBITMQ__URL",
            )
        ], False
    return release(version), True


def release(version: str) -> list[Line]:
    """Whether this release of RabbitMQ can keep what the workers need."""
    if tuple(map(int, re.findall(r"\d+", version)[:2])) >= OLDEST:
        return ok("rabbitmq", f"RabbitMQ {version} answers")
    return [
        wrong(
            "rabbitmq",
            "this RabbitMQ can't dead-letter safely",
            expected=f"{'.'.join(map(str, OLDEST))} or later",
            received=version,
            mend="upgrade RabbitMQ",
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
    policies = [each for each in findings if each.severity == "warning"]
    unasked = [each for each in findings if each.severity == "unknown" and each not in refusals]
    missing = [each for each in findings if each.severity == "wrong" and each.received == "nothing"]
    others = [each for each in findings if each.severity == "wrong" and each.received != "nothing"]
    topology_lines = _missing(missing) + [_line("topology", each) for each in others]
    if refusals:
        topology_lines.append(wrong_rights(broker, work, [f"configure {each.what}" for each in refusals]))
    policy_lines = [_line("policies", each) for each in policies]
    for each in unasked:
        policy_lines += unknown("policies", f"{each.what} were not looked at: {each.received}", mend=each.mend)
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


def _line(check: str, finding: Finding) -> Line:
    return wrong(check, finding.what, expected=finding.expected, received=finding.received, mend=finding.mend)


def consumer_timeout(needed: timedelta, queues: Iterable[str], facts: dict[str, dict[str, Any]] | None) -> list[Line]:
    """Whether RabbitMQ waits as long for a settlement as the settings say. Only a policy tells that (from 3.12 on).

    Parameters:
      needed: DUTIFUL_RABBITMQ__CONSUMER_TIMEOUT_SECONDS.
      facts: what the management API knows of each queue.
    """
    milliseconds = needed // timedelta(milliseconds=1)
    policies = {
        queue: rules[_POLICY]
        for queue in queues
        if _POLICY in (rules := (facts or {}).get(queue, {}).get("effective_policy_definition") or {})
    }
    short = {queue: stated for queue, stated in policies.items() if stated < milliseconds}
    if short:
        return [
            wrong(
                "consumer_timeout",
                f"RabbitMQ would give jobs of {', '.join(sorted(short))} to somebody else while they run",
                expected=f"{_POLICY} of {milliseconds} or more, as DUTIFUL_RABBITMQ__CONSUMER_TIMEOUT_SECONDS says",
                received=f"{min(short.values())}, from a policy",
                mend=f"export DUTIFUL_RABBITMQ__CONSUMER_TIMEOUT_SECONDS={min(short.values()) // 1000}",
            )
        ]
    if policies and len(policies) == len(set(queues)):
        return ok("consumer_timeout", f"{min(policies.values())} ms, from a policy")
    return unknown(
        "consumer_timeout",
        f"RabbitMQ does not tell its setting; {milliseconds} ms or more is needed",
        mend="rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).'",
    )


def disks(management: Management | None) -> list[Line]:
    """How near RabbitMQ's nodes are to an alarm for their disk."""
    check = "rabbitmq disk"
    if management is None:
        return unknown(check, "AMQP does not tell RabbitMQ's room", mend="set DUTIFUL_RABBITMQ__MANAGEMENT_URL")
    try:
        nodes = management.nodes()
    except ManagementUnavailable as error:
        return [refused(check, error, mend="mend the address or the user")]
    return [line for node in nodes for line in node_room(node)]


def node_room(node: dict[str, Any]) -> list[Line]:
    """Whether one node has raised an alarm, or soon will."""
    name, free, limit = node["name"], node.get("disk_free"), node.get("disk_free_limit")
    if not isinstance(free, int) or not isinstance(limit, int):
        # It looks every few seconds, and has not yet where it has just started.
        return unknown("rabbitmq disk", f"{name} does not know its room", mend="rabbitmq-diagnostics status, later")
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
            mend="make room on its disk, or look: rabbitmq-diagnostics alarms",
        )
    ]


def delayed_for(broker: DutifulBroker) -> list[int]:
    """The levels of the delay ladder in which messages wait."""
    found = ((number, count(broker, topology.level(number))) for number in range(topology.LEVELS))
    return [number for number, held in found if held is not None and held.ready]


def _version(channel: Any, answer: Callable[[Any], None]) -> None:
    answer((channel.connection.server_properties or {}).get("version", "of no version"))
