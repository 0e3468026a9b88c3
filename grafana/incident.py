"""Builds the dashboard that is opened first: is it up, is it slow, are jobs failing, did a deployment change it."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from deploy.prometheus.thresholds import RUNBOOKS, Thresholds
from grafana.frame import frame
from grafana.panels import GREEN, ORANGE, RED, gauge, happened, lines, number, quantile, rate, rows, share

_ENDED = 'dutiful_jobs_finished_total{queue=~"$queue"}'
_DEAD = 'dutiful_jobs_finished_total{queue=~"$queue",outcome="dead"}'
_TARGETS = 'up{job=~"worker|scheduler|rabbitmq"}'
_OBJECTIVES = Thresholds()


def _failed(past: str = "") -> str:
    window = f"5m]{past}"
    dead, ended = (f"sum(rate({series}[{window}))" for series in (_DEAD, _ENDED))
    return f"({share(dead, ended)})"


def build() -> dashboard.Dashboard:
    """Return the dashboard."""
    built = frame(
        "Incident",
        "dutiful-incident",
        "Is it up, is it slow, are jobs failing, did the last deployment change it?",
        "queue",
    )
    for panel in (*_answers(), *_alerts(), *_jobs(), *_queues(), *_workers()):
        built = built.with_panel(panel)
    return built


def _answers() -> list:
    return [
        number(
            "Is it up?",
            "Share of workers, schedulers and RabbitMQ nodes that answer Prometheus. Good: 100 %. Less: see Targets.",
            f"(sum({_TARGETS}) / count({_TARGETS})) or vector(0)",
            "percentunit",
            (1, GREEN),
            good=RED,
        ),
        number(
            "Is it slow?",
            "95 of 100 jobs of five minutes begin within this time. "
            f"Good: below {_OBJECTIVES.slow_wait:.0f} s. Above: more workers, or see whether one actor became slow.",
            quantile(0.95, "dutiful_job_wait_seconds", window="5m", labels='queue=~"$queue"'),
            "s",
            (_OBJECTIVES.slow_wait / 6, ORANGE),
            (_OBJECTIVES.slow_wait, RED),
        ),
        number(
            "Are jobs failing?",
            f"Share of the jobs that ended as dead letters in five minutes. Good: below {_OBJECTIVES.failed_share:.0%}."
            " Above: dutiful dead-letters list --group.",
            _failed(),
            "percentunit",
            (_OBJECTIVES.failed_share, ORANGE),
            (5 * _OBJECTIVES.failed_share, RED),
        ),
        number(
            "Did the last deployment change anything?",
            "Share of dead letters now, less that of an hour ago. Good: 0. Above, after a blue line: roll back.",
            f"{_failed()} - {_failed(' offset 1h')}",
            "percentunit",
            (_OBJECTIVES.deploy_more, ORANGE),
            (5 * _OBJECTIVES.deploy_more, RED),
        ),
    ]


def _alerts() -> list:
    return [
        number(
            "Alerts",
            "Alerts that fire, without the watchdog. Good: 0.",
            'count(ALERTS{alertstate="firing",alertname=~"Dutiful.+",alertname!="DutifulWatchdog"}) or vector(0)',
            "short",
            (1, RED),
        ).height(8),
        rows(
            "What fires",
            "Each alert with its owner; the link leads to its runbook. Good: only the watchdog, which fires always.",
            "short",
            'ALERTS{alertstate="firing",alertname=~"Dutiful.+"}',
            link=("Runbook", f"{RUNBOOKS}/${{__data.fields.alertname}}.md"),
        ),
        rows(
            "Targets",
            "1: it answers Prometheus. Good: 1 in each line.",
            "short",
            f"min by (job, instance) ({_TARGETS})",
        ).span(6),
    ]


def _jobs() -> list:
    waits = [
        (quantile(level, "dutiful_job_wait_seconds", labels='queue=~"$queue"'), f"p{level * 100:.0f}")
        for level in (0.5, 0.95, 0.99)
    ]
    return [
        lines(
            "Jobs that ended",
            "By outcome. Good: nearly all succeeded; duplicates are harmless; dead ones wait as dead letters.",
            "ops",
            (f"sum by (outcome) ({rate(_ENDED)})", "{{outcome}}"),
        ),
        lines(
            "Wait",
            "From sending to the first attempt. Good: below the line.",
            "s",
            *waits,
            limit=_OBJECTIVES.slow_wait,
        ),
        lines(
            "Run time",
            "95 of 100 attempts of each actor end within it. Good: as yesterday.",
            "s",
            (quantile(0.95, "dutiful_job_duration_seconds", by="actor", labels='queue=~"$queue"'), "{{actor}}"),
        ),
        lines(
            "Exceptions",
            "What attempts raised in five minutes, by class. Good: 0. Retries count here, and may end well.",
            "short",
            (f"sum by (exception) ({happened('dutiful_job_exceptions_total')}) or vector(0)", "{{exception}}"),
        ),
    ]


def _queues() -> list:
    work = '{queue=~"$queue",queue!~"dutiful[.].+|.+[.]XQ"}'
    return [
        lines(
            "Jobs that wait",
            "Ready in each queue. Good: near 0, or falling.",
            "short",
            (f"sum by (queue) (rabbitmq_detailed_queue_messages_ready{work}) or vector(0)", "{{queue}}"),
        ),
        lines(
            "Oldest job",
            "No job in the queue is older. Good: seconds.",
            "s",
            (f"time() - min by (queue) ({gauge('dutiful_queue_probe_timestamp_seconds')})", "{{queue}}"),
            limit=_OBJECTIVES.oldest_job,
        ),
        lines(
            "Dead letters",
            "How many wait for a person, by queue. Good: 0, or not growing.",
            "short",
            ('sum by (queue) (rabbitmq_detailed_queue_messages{queue=~".+[.]XQ"}) or vector(0)', "{{queue}}"),
        ),
        lines(
            "Put back",
            "Jobs put back in five minutes, without spending an attempt. Good: 0, or a few with still_running.",
            "short",
            (f"sum by (why) ({happened('dutiful_jobs_deferred_total')}) or vector(0)", "{{why}}"),
        ),
    ]


def _workers() -> list:
    return [
        lines(
            "Threads",
            "Busy ones and all. Good: some are free. All busy for long: more workers.",
            "short",
            (f"sum({gauge('dutiful_jobs_running')}) or vector(0)", "busy"),
            (f"sum({gauge('dutiful_worker_threads')}) or vector(0)", "all"),
        ),
        lines(
            "Longest running",
            "For how long the oldest attempt of each actor has run. Good: below the actor's time limit.",
            "s",
            (f"max by (actor) ({gauge('dutiful_jobs_longest_running_seconds')}) or vector(0)", "{{actor}}"),
        ),
        lines(
            "Limits and deaths",
            "Attempts that reached a limit, and worker processes that died, in five minutes. Good: 0.",
            "short",
            (f"sum by (kind) ({happened('dutiful_time_limits_total')}) or vector(0)", "{{kind}} limit"),
            (f"sum({happened('dutiful_worker_deaths_total')}) or vector(0)", "deaths"),
        ),
        rows(
            "Schedules",
            "Seconds until each schedule is due next. Good: above 0; below, the tick waits for RabbitMQ or the store.",
            "s",
            f"min by (schedule) ({gauge('dutiful_schedule_next_due_timestamp_seconds')}) - time()",
        ),
        rows(
            "Schedules: last success",
            "Seconds since the job of a tick succeeded. Good: below its period.",
            "s",
            f"(time() - (max by (schedule) ({gauge('dutiful_schedule_last_succeeded_timestamp_seconds')}) > 0))"
            " or vector(0)",
        ),
        rows(
            "Schedules: last tick",
            "Seconds since the due time of the last tick that is published. Good: below its period.",
            "s",
            f"(time() - (max by (schedule) ({gauge('dutiful_schedule_last_published_timestamp_seconds')}) > 0))"
            " or vector(0)",
        ),
        lines(
            "Ticks left out",
            "By why, in five minutes. Good: 0, or as the schedules say.",
            "short",
            (
                f"sum by (schedule, why) ({happened('dutiful_schedule_skipped_total')}) or vector(0)",
                "{{schedule}} {{why}}",
            ),
        ),
        rows(
            "Schedules: owners",
            "Who answers for each schedule, and the actor that it runs. Good: one line a schedule.",
            "short",
            "max by (schedule, actor, owner) (dutiful_schedule_info)",
        ),
        number(
            "Paused",
            "Actors, queues and schedules. Good: 0, or what you have paused.",
            "sum(max by (kind, name) (dutiful_paused)) or vector(0)",
            "short",
            (1, ORANGE),
        ),
    ]
