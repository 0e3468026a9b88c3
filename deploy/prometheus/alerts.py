"""Says of what somebody is told, how urgently, and in which words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deploy.prometheus.recordings import FAILED, OWNER_OF_ACTOR, OWNER_OF_QUEUE, OWNER_OF_SCHEDULE, SLOW
from deploy.prometheus.thresholds import DASHBOARDS, RUNBOOKS, Thresholds

OPERATIONS = "operations"
"""Who answers for what belongs to no job."""
_PAUSED = 'label_replace(max by (name) (dutiful_paused{{kind="{0}"}}) == 1, "{0}", "$1", "name", "(.+)")'
_AFTERMATH = "5m"
"""What an outage left waiting is no second incident: for so long after it, its alert still holds back the others."""
_OF_QUEUE = '{queue!~"dutiful[.].+|.+[.]XQ"}'


@dataclass(frozen=True)
class Alert:
    """One alert.

    Parameters:
      expr: when it is true for something; the labels it leaves are those of the alert.
      lasts: for how long it must be true.
      severity: page wakes somebody; ticket waits for the day; none goes to a dead man's switch.
      summary: what is wrong, in a sentence without a number.
      description: the numbers.
      dashboard: where to look first.
      owner_by: queue, actor or schedule, whose owner is told; nothing: operations.
      keeps: for how long it goes on after it has ended, so that it doesn't flap.
      labels: more labels.
    """

    name: str
    expr: str
    lasts: str
    severity: str
    summary: str
    description: str
    dashboard: str = "dutiful-incident"
    owner_by: str = ""
    keeps: str = ""
    labels: dict[str, str] = field(default_factory=dict)

    def rule(self) -> dict[str, Any]:
        """Return it as Prometheus reads it."""
        chosen = self.owner_by in {"queue", "actor"}  # what a dashboard lets people choose by
        variables = f"?var-{self.owner_by}={{{{ $labels.{self.owner_by} }}}}" if chosen else ""
        owner = {} if self.owner_by else {"owner": OPERATIONS}
        return {
            "alert": self.name,
            "expr": _with_owner(self.expr, self.owner_by),
            **({"for": self.lasts} if self.lasts else {}),
            **({"keep_firing_for": self.keeps} if self.keeps else {}),
            "labels": {"severity": self.severity, **owner, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOKS}/{self.name}.md",
                "dashboard_url": f"{DASHBOARDS}/d/{self.dashboard}{variables}",
            },
        }


def _with_owner(expr: str, by: str) -> str:
    if not by:
        return expr
    record = {"queue": OWNER_OF_QUEUE, "actor": OWNER_OF_ACTOR, "schedule": OWNER_OF_SCHEDULE}[by]
    return f"({expr})\n  * on ({by}) group_left (owner) {record}"


def alerts(chosen: Thresholds) -> list[Alert]:
    """Return every alert."""
    return [*_burns(chosen), *_waiting(chosen), *_ending_badly(chosen), *_schedules(chosen), *_processes(chosen)]


def _burns(chosen: Thresholds) -> list[Alert]:
    return [
        Alert(
            name="DutifulErrorBudgetBurn",
            expr=f"{FAILED.format(burn.long)} > {burn.factor} * {chosen.failed_share}\n"
            f"  and {FAILED.format(burn.short)} > {burn.factor} * {chosen.failed_share}\n"
            f"  and sum by (queue) (increase(dutiful_jobs_finished_total[{burn.long}])) > {chosen.failed_jobs}",
            lasts=burn.lasts,
            severity=burn.severity,
            summary="Jobs in {{ $labels.queue }} fail faster than the objective allows.",
            description=f"{{{{ $value | humanizePercentage }}}} of the jobs that ended in {{{{ $labels.queue }}}} over "
            f"{burn.long} are dead letters; the objective allows {chosen.failed_share:.0%}.",
            owner_by="queue",
            labels={"window": burn.long},
        )
        for burn in chosen.burns
    ]


def _waiting(chosen: Thresholds) -> list[Alert]:
    return [
        Alert(
            name="DutifulJobsWaitTooLong",
            expr=f"{SLOW.format('1h')} > {chosen.slow_share} and {SLOW.format('5m')} > {chosen.slow_share}",
            lasts="5m",
            severity="page",
            summary="Jobs in {{ $labels.queue }} wait too long before they begin.",
            description="{{ $value | humanizePercentage }} of the jobs that began in {{ $labels.queue }} in the last "
            f"hour had waited for more than {chosen.slow_wait:.0f} s.",
            owner_by="queue",
        ),
        Alert(
            name="DutifulOldestJob",
            expr=f"time() - min by (queue) (dutiful_queue_probe_timestamp_seconds) > {chosen.oldest_job}\n"
            f"  unless on (queue) {_PAUSED.format('queue')}",
            lasts="2m",
            severity="page",
            summary="The oldest job in {{ $labels.queue }} waits for very long.",
            description="A job sent to {{ $labels.queue }} {{ $value | humanizeDuration }} ago may wait there still.",
            owner_by="queue",
        ),
        Alert(
            name="DutifulQueueStuck",
            expr=f"sum by (queue) (rabbitmq_detailed_queue_messages{_OF_QUEUE}) > 0\n"
            f"  unless sum by (queue) (rate(dutiful_job_attempts_total[{chosen.stuck_minutes}m])) > 0\n"
            f"  unless on (queue) {_PAUSED.format('queue')}",
            lasts=f"{chosen.stuck_minutes}m",
            severity="page",
            summary="Jobs wait in {{ $labels.queue }} and none ends.",
            description="{{ $value }} jobs lie in {{ $labels.queue }}, and for a long time no attempt has ended there.",
            dashboard="dutiful-broker",
            owner_by="queue",
        ),
        Alert(
            name="DutifulQueueWithoutConsumers",
            expr=f"sum by (queue) (rabbitmq_detailed_queue_consumers{_OF_QUEUE}) == 0\n"
            f"  unless on (queue) {_PAUSED.format('queue')}",
            lasts=f"{chosen.no_consumers_minutes}m",
            severity="page",
            summary="No worker reads {{ $labels.queue }}.",
            description="RabbitMQ counts no consumer on {{ $labels.queue }}.",
            dashboard="dutiful-broker",
            owner_by="queue",
        ),
        Alert(
            name="DutifulOutboxStuck",
            expr=f"max(dutiful_outbox_oldest_seconds) > {chosen.outbox_old}",
            lasts="2m",
            severity="page",
            summary="Messages in the outbox are not published.",
            description="The oldest has waited for {{ $value | humanizeDuration }}.",
            dashboard="dutiful-broker",
        ),
        Alert(
            name="DutifulUndeliverable",
            expr='sum(rabbitmq_detailed_queue_messages{queue="dutiful.undeliverable"}) > 0',
            lasts="1m",
            severity="ticket",
            summary="Delayed jobs came due and their queue was gone.",
            description="{{ $value }} jobs lie in dutiful.undeliverable.",
            dashboard="dutiful-broker",
        ),
    ]


def _ending_badly(chosen: Thresholds) -> list[Alert]:
    dead, ended = 'dutiful_jobs_finished_total{outcome="dead"}', "dutiful_jobs_finished_total"
    share, before = (f"sum(rate({dead}[10m]{past})) / sum(rate({ended}[10m]{past}))" for past in ("", " offset 1h"))
    return [
        Alert(
            name="DutifulDeadLettersGrowing",
            expr='sum by (queue) (label_replace(delta(rabbitmq_detailed_queue_messages{queue=~".+[.]XQ"}[15m]), '
            f'"queue", "$1", "queue", "(.+)[.]XQ")) > {chosen.dead_letters}',
            lasts="1m",
            severity="ticket",
            summary="Jobs of {{ $labels.queue }} became dead letters.",
            description="About {{ $value | humanize }} were added in fifteen minutes.",
            owner_by="queue",
            keeps="15m",
        ),
        Alert(
            name="DutifulTimeLimits",
            expr=f"sum by (actor, kind) (increase(dutiful_time_limits_total[15m])) > {chosen.time_limits}",
            lasts="",
            severity="ticket",
            summary="{{ $labels.actor }} runs into its {{ $labels.kind }} time limit.",
            description="About {{ $value | humanize }} attempts were stopped in fifteen minutes.",
            dashboard="dutiful-actor",
            owner_by="actor",
            keeps="15m",
        ),
        Alert(
            name="DutifulFailingSinceDeploy",
            expr=f"{share}\n    > {chosen.deploy_factor} * ({before}) + {chosen.deploy_more}\n"
            "  and on () count(group by (version, revision) (max_over_time(dutiful_build_info[1h]))) > 1",
            lasts="5m",
            severity="ticket",
            summary="More jobs fail since the last deployment.",
            description="{{ $value | humanizePercentage }} of the jobs that end are dead letters, more than before.",
            dashboard="dutiful-deployment",
        ),
    ]


def _schedules(chosen: Thresholds) -> list[Alert]:
    return [
        Alert(
            name="DutifulScheduleLate",
            expr=f"time() - max by (schedule) (dutiful_schedule_next_due_timestamp_seconds) > {chosen.schedule_late}",
            lasts="1m",
            severity="page",
            summary="The schedule {{ $labels.schedule }} is late.",
            description="It was due {{ $value | humanizeDuration }} ago, and its job is not published.",
            owner_by="schedule",
        ),
        Alert(
            name="DutifulScheduleFailing",
            expr="time() - (max by (schedule) (dutiful_schedule_last_succeeded_timestamp_seconds) > 0)\n"
            f"    > {chosen.missed_periods} * max by (schedule) (dutiful_schedule_interval_seconds)\n"
            f"  unless on (schedule) {_PAUSED.format('schedule')}",
            lasts="5m",
            severity="ticket",
            summary="The jobs of the schedule {{ $labels.schedule }} don't succeed.",
            description="Its last success was {{ $value | humanizeDuration }} ago.",
            owner_by="schedule",
        ),
        Alert(
            name="DutifulSchedulerAbsent",
            expr='sum by (job) (up{job="scheduler"}) == 0 or absent(up{job="scheduler"})',
            lasts=f"{chosen.scheduler_down_minutes}m",
            severity="page",
            summary="No scheduler runs.",
            description="Prometheus reaches no target of the job scheduler. Ticks that fall due are made up for later.",
        ),
    ]


def _processes(chosen: Thresholds) -> list[Alert]:
    return [
        Alert(
            name="DutifulWorkersDown",
            expr='sum by (job) (up{job="worker"}) == 0 or absent(up{job="worker"})',
            lasts=f"{chosen.workers_down_minutes}m",
            severity="page",
            summary="No worker runs.",
            description="Prometheus reaches no target of the job worker.",
            keeps=_AFTERMATH,
        ),
        Alert(
            name="DutifulWorkersRestarting",
            expr=f"sum by (instance) (changes(dutiful_worker_start_time_seconds[15m])) > {chosen.restarts}",
            lasts="",
            severity="ticket",
            summary="The workers on {{ $labels.instance }} keep restarting.",
            description="{{ $value }} restarts in fifteen minutes.",
            dashboard="dutiful-deployment",
            keeps="15m",
        ),
        Alert(
            name="DutifulWorkerSilent",
            expr='time() - min by (instance) (dutiful_worker_beat_timestamp_seconds{job="worker"})'
            f" > {chosen.silent}",
            lasts="1m",
            severity="page",
            summary="A worker process on {{ $labels.instance }} gives no sign of life.",
            description="It was last seen {{ $value | humanizeDuration }} ago: stopped, swapped out, or blocked.",
        ),
        Alert(
            name="DutifulStoreDown",
            expr='min by (instance) (dutiful_store_up{job="worker"}) == 0',
            lasts=f"{chosen.store_down_minutes}m",
            severity="page",
            summary="The workers on {{ $labels.instance }} don't reach the store.",
            description="Jobs that need it wait in the worker; nothing is lost.",
            dashboard="dutiful-broker",
            keeps=_AFTERMATH,
        ),
        Alert(
            name="DutifulPublisherBlocked",
            expr="max by (instance) (dutiful_broker_blocked) == 1",
            lasts=f"{chosen.blocked_minutes}m",
            severity="page",
            summary="RabbitMQ takes no messages from {{ $labels.instance }}.",
            description="It has too little memory or disk. What is sent fails, and workers stop fetching.",
            dashboard="dutiful-broker",
        ),
        Alert(
            name="DutifulRabbitmqDown",
            expr='sum by (job) (up{job="rabbitmq"}) == 0 or absent(up{job="rabbitmq"})',
            lasts=f"{chosen.rabbitmq_down_minutes}m",
            severity="page",
            summary="RabbitMQ is down.",
            description="Prometheus reaches no node of it. Nothing can be sent, and no job begins.",
            dashboard="dutiful-broker",
            keeps=_AFTERMATH,
        ),
        Alert(
            name="DutifulVersionsMixed",
            expr='count(group by (version, revision) (dutiful_build_info{job="worker"})) > 1',
            lasts=f"{chosen.mixed_versions_minutes}m",
            severity="ticket",
            summary="Workers of several versions run.",
            description="{{ $value }} versions run side by side: a deployment has not come to its end.",
            dashboard="dutiful-deployment",
        ),
        Alert(
            name="DutifulWatchdog",
            expr="vector(1)",
            lasts="",
            severity="none",
            summary="Always fires: where it doesn't arrive, no alert does.",
            description="Send it to a dead man's switch.",
        ),
    ]
