"""Builds the dashboard that sets versions side by side."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.frame import frame
from grafana.panels import HERE, ORANGE, gauge, lines, number, rows

_VERSION = f"on (instance) group_left (version, revision) max by (instance, version, revision) ({HERE})"

_LEGEND = "{{version}} {{revision}}"


def _by_version(series: str) -> str:
    return f"sum by (version, revision) (rate({series}[$__rate_interval]) * {_VERSION})"


def build() -> dashboard.Dashboard:
    """Return the dashboard."""
    dead, ended = (_by_version(f"dutiful_jobs_finished_total{kind}") for kind in ('{outcome="dead"}', ""))
    buckets = f"rate(dutiful_job_duration_seconds_bucket[$__rate_interval]) * {_VERSION}"
    panels = [
        number(
            "Versions that run",
            "Good: 1. More while a deployment goes on.",
            f"count(group by (version, revision) ({HERE})) or vector(0)",
            "short",
            (2, ORANGE),
        ),
        number(
            "Restarts in an hour",
            "Of worker processes. Good: 0, and one an instance for a deployment.",
            f"sum({gauge('changes(dutiful_worker_start_time_seconds[1h])')}) or vector(0)",
            "short",
            (3, ORANGE),
        ),
        rows(
            "Versions",
            "Which instance runs which version. Good: one version.",
            "short",
            f"max by (instance, version, revision, environment) ({HERE})",
        ),
        lines(
            "Jobs that ended, by version",
            "Good: the new version takes over from the old one, and as many end as before.",
            "ops",
            (ended, _LEGEND),
        ),
        lines(
            "Failed, by version",
            "Share of dead letters. Good: the new version's is not above the old one's.",
            "percentunit",
            (f"({dead} / ({ended} > 0)) or vector(0)", _LEGEND),
        ),
        lines(
            "Run time, by version",
            "95 of 100 attempts end within it. Good: the new version's is not above the old one's.",
            "s",
            (
                f"(histogram_quantile(0.95, sum by (le, version, revision) ({buckets})) >= 0) or vector(0)",
                _LEGEND,
            ),
        ),
        lines(
            "Restarts",
            "In a quarter of an hour, by instance. Good: 0.",
            "short",
            (f"sum by (instance) ({gauge('changes(dutiful_worker_start_time_seconds[15m])')})", "{{instance}}"),
        ),
        lines(
            "Memory",
            "Of the largest worker process of an instance. Good: it doesn't grow without end.",
            "bytes",
            (gauge("dutiful_worker_memory_bytes"), "{{instance}}"),
        ),
        lines(
            "Last seen",
            "Seconds since the most silent worker process was seen. Good: below 10.",
            "s",
            (f"time() - {gauge('dutiful_worker_beat_timestamp_seconds')}", "{{instance}}"),
        ),
    ]
    built = frame("Deployment", "dutiful-deployment", "What a deployment changes: versions side by side.")
    for panel in panels:
        built = built.with_panel(panel)
    return built
