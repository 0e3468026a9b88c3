"""Builds the dashboard about single actors."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.frame import frame
from grafana.panels import gauge, happened, lines, quantile, rate, rows, share

_OWN = 'queue=~"$queue",actor=~"$actor"'
_ANY = 'actor=~"$actor"'


def _counted(name: str, by: str, labels: str = _OWN) -> tuple[str, str]:
    return f"sum by ({by}) ({rate(f'{name}{{{labels}}}')}) or vector(0)", f"{{{{{by}}}}}"


def _rare(name: str, by: str, labels: str = _OWN) -> tuple[str, str]:
    return f"sum by ({by}) ({happened(f'{name}{{{labels}}}')}) or vector(0)", f"{{{{{by}}}}}"


def _quantiles(histogram: str) -> list[tuple[str, str]]:
    return [(quantile(level, histogram, labels=_OWN), f"p{level * 100:.0f}") for level in (0.5, 0.95, 0.99)]


def build() -> dashboard.Dashboard:
    """Return the dashboard."""
    panels = [
        rows(
            "Owner",
            "Who answers for the actor, and its queue. Good: one line an actor.",
            "short",
            f"max by (actor, queue, owner) (dutiful_actor_info{{{_OWN}}})",
        ),
        lines("Sent", "By workers. Good: as usual.", "ops", _counted("dutiful_jobs_enqueued_total", "actor")),
        lines(
            "Attempts",
            "By outcome. Good: succeeded; retried ones come again.",
            "ops",
            _counted("dutiful_job_attempts_total", "outcome"),
        ),
        lines(
            "Jobs that ended",
            "By outcome, one count a job. Good: succeeded.",
            "ops",
            _counted("dutiful_jobs_finished_total", "outcome"),
        ),
        lines("Run time", "Of attempts. Good: as yesterday.", "s", *_quantiles("dutiful_job_duration_seconds")),
        lines("Wait", "From sending to the attempt. Good: seconds.", "s", *_quantiles("dutiful_job_wait_seconds")),
        lines(
            "From sending to the end",
            "Retries and delays included. Good: wait and run time together.",
            "s",
            *_quantiles("dutiful_job_total_seconds"),
        ),
        lines(
            "Attempts that a job needed",
            "To end well, or as a dead letter: on average, and 99 of 100 at most. Good: 1.",
            "short",
            (
                share(*(f"sum({rate(f'dutiful_job_attempts_{part}{{{_OWN}}}')})" for part in ("sum", "count"))),
                "average",
            ),
            (quantile(0.99, "dutiful_job_attempts", labels=_OWN), "p99"),
        ),
        lines(
            "Database calls",
            "Statements of SQL in an attempt, 95 of 100. Good: as yesterday, however much data there is.",
            "short",
            (quantile(0.95, "dutiful_job_database_calls", by="actor", labels=_ANY), "{{actor}}"),
        ),
        lines(
            "Exceptions",
            "In five minutes, by class. Good: 0.",
            "short",
            _rare("dutiful_job_exceptions_total", "exception", _ANY),
        ),
        lines(
            "Stopped at the limit",
            "Attempts that ran into their time limit in five minutes, soft or hard. Good: 0.",
            "short",
            (
                f"sum by (actor, kind) ({happened(f'dutiful_time_limits_total{{{_ANY}}}')}) or vector(0)",
                "{{actor}} {{kind}}",
            ),
        ),
        lines(
            "Dead letters",
            "That were added in five minutes, by reason. Good: 0.",
            "short",
            _rare("dutiful_jobs_dead_lettered_total", "reason"),
        ),
        lines(
            "Put back",
            "In five minutes, without spending an attempt. Good: 0, or a few with still_running.",
            "short",
            _rare("dutiful_jobs_deferred_total", "why"),
        ),
        lines(
            "Handed out again",
            "Messages that RabbitMQ had handed out before. Good: 0; restarts and cut links add some.",
            "ops",
            _counted("dutiful_redeliveries_total", "actor"),
        ),
        lines(
            "Running",
            "Attempts that run now. Good: above 0 while jobs wait.",
            "short",
            (f"sum by (actor) ({gauge(f'dutiful_jobs_running{{{_OWN}}}')}) or vector(0)", "{{actor}}"),
        ),
    ]
    built = frame("Actor", "dutiful-actor", "How the jobs of an actor do.", "queue", "actor")
    for panel in panels:
        built = built.with_panel(panel)
    return built
