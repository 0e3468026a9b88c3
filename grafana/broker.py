"""Builds the dashboard about RabbitMQ, the store and the outbox."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.frame import frame
from grafana.panels import GREEN, ORANGE, RED, gauge, happened, lines, number, quantile, rate

_PREFETCH = 'dutiful_queue_prefetch{queue=~"$queue"}'
_WORK = '{queue=~"$queue",queue!~"dutiful[.].+|.+[.]XQ"}'


def build() -> dashboard.Dashboard:
    """Return the dashboard."""
    built = frame(
        "Broker and store", "dutiful-broker", "What the workers live on: RabbitMQ, the store, the outbox.", "queue"
    )
    for panel in (*_numbers(), *_rabbitmq(), *_store()):
        built = built.with_panel(panel)
    return built


def _numbers() -> list:
    alarms = " + ".join(
        f"(max(rabbitmq_alarms_{name}) or vector(0))"
        for name in ("memory_used_watermark", "free_disk_space_watermark", "file_descriptor_limit")
    )
    return [
        number(
            "RabbitMQ's alarms", "Memory, disk, files. Good: 0. Above: it takes nothing.", alarms, "short", (1, RED)
        ),
        number(
            "Blocked workers",
            "Instances from which RabbitMQ takes no messages. Good: 0.",
            f"sum({gauge('dutiful_broker_blocked')}) or vector(0)",
            "short",
            (1, RED),
        ),
        number(
            "Store",
            "1: every worker reaches it. Good: 1.",
            f"min({gauge('dutiful_store_up')}) or vector(0)",
            "short",
            (1, GREEN),
            good=RED,
        ),
        number(
            "Without a queue",
            "Delayed jobs that came due when their queue was gone. Good: 0.",
            'sum(rabbitmq_detailed_queue_messages{queue="dutiful.undeliverable"}) or vector(0)',
            "short",
            (1, ORANGE),
        ),
    ]


def _rabbitmq() -> list:
    return [
        lines(
            "Ready and unacked",
            "Jobs that wait, and those that workers have. Good: ready near 0.",
            "short",
            (f"sum by (queue) (rabbitmq_detailed_queue_messages_ready{_WORK}) or vector(0)", "{{queue}} ready"),
            (f"sum by (queue) (rabbitmq_detailed_queue_messages_unacked{_WORK}) or vector(0)", "{{queue}} unacked"),
        ),
        lines(
            "Consumers",
            "Worker processes that read each queue. Good: never 0.",
            "short",
            (f"sum by (queue) (rabbitmq_detailed_queue_consumers{_WORK}) or vector(0)", "{{queue}}"),
        ),
        lines(
            "Delayed",
            "Jobs in the delay ladder: retries, and what was sent for later. Good: as usual.",
            "short",
            ('sum(rabbitmq_detailed_queue_messages{queue=~"dutiful[.]delay[.].+"}) or vector(0)', "delayed"),
        ),
        lines(
            "Fetched ahead",
            "Messages that a worker process may hold of each queue. Good: as configured.",
            "short",
            (f"max by (queue) ({gauge(_PREFETCH)})", "{{queue}}"),
        ),
        lines(
            "Connections lost",
            "Or not made, by what they are for; send: messages that were not confirmed. Good: 0.",
            "ops",
            (f"sum by (operation) ({rate('dutiful_broker_errors_total')}) or vector(0)", "{{operation}}"),
        ),
        lines(
            "Settled too late",
            "Messages that ended on a channel that was gone; they come again. Good: 0.",
            "ops",
            (f"sum({rate('dutiful_stale_settlements_total')}) or vector(0)", "stale"),
        ),
        lines(
            "Counted under _other",
            "In five minutes: there were too many names of actors or exceptions. Good: 0.",
            "short",
            (f"sum by (label) ({happened('dutiful_label_overflows_total')}) or vector(0)", "{{label}}"),
        ),
    ]


def _store() -> list:
    return [
        lines(
            "Store: time to answer",
            "99 of 100 in five minutes: a small question (look), keys of jobs that begin (claim), "
            "how jobs ended (end). Good: milliseconds.",
            "s",
            (quantile(0.99, "dutiful_store_seconds", by="operation", window="5m"), "{{operation}}"),
        ),
        lines(
            "Outbox: rows",
            "That wait, and that can't be published as they are. Good: 0.",
            "short",
            (f"max({gauge('dutiful_outbox_waiting')}) or vector(0)", "waiting"),
            (f"max({gauge('dutiful_outbox_set_aside')}) or vector(0)", "set aside"),
        ),
        lines(
            "Outbox: oldest",
            "How long the oldest row has waited. Good: below a second.",
            "s",
            (f"max({gauge('dutiful_outbox_oldest_seconds')}) or vector(0)", "oldest"),
        ),
        lines(
            "Outbox: messages",
            "Published, and not taken. Good: none is not taken.",
            "ops",
            (f"sum({rate('dutiful_outbox_relayed_total')}) or vector(0)", "published"),
            (f"sum by (why) ({rate('dutiful_outbox_failures_total')}) or vector(0)", "{{why}}"),
        ),
    ]
