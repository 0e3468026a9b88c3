"""Records what alerts and dashboards share, so that both show the same number."""

from __future__ import annotations

from deploy.prometheus.thresholds import Thresholds

FAILED = "queue:dutiful_failed:ratio_rate{}"
SLOW = "queue:dutiful_slow:ratio_rate{}"
OWNER_OF_QUEUE = "queue:dutiful_owner:info"
OWNER_OF_ACTOR = "actor:dutiful_owner:info"
OWNER_OF_SCHEDULE = "schedule:dutiful_owner:info"
SLOW_WINDOWS = ("5m", "1h")


def recordings(chosen: Thresholds) -> list[dict[str, str]]:
    """Return the recording rules."""
    found = [
        {
            "record": FAILED.format(window),
            "expr": f'sum by (queue) (rate(dutiful_jobs_finished_total{{outcome="dead"}}[{window}]))\n'
            f"  / sum by (queue) (rate(dutiful_jobs_finished_total[{window}]))",
        }
        for window in sorted({each for burn in chosen.burns for each in (burn.long, burn.short)}, key=_seconds)
    ]
    found += [
        {
            "record": SLOW.format(window),
            "expr": f'1 - sum by (queue) (rate(dutiful_job_wait_seconds_bucket{{le="{chosen.slow_wait:.1f}"}}'
            f"[{window}]))\n"
            f"  / sum by (queue) (rate(dutiful_job_wait_seconds_count[{window}]))",
        }
        for window in SLOW_WINDOWS
    ]
    # Who answered for it last, remembered for a day: an alert about workers that are gone must still find its owner.
    # While a deploy changes the owner both are there; the one that was seen last is right.
    found += [
        {
            "record": f"{label}:dutiful_owner:info",
            "expr": f"topk by ({label}) (1, max by ({label}, owner)\n"
            f"  (max_over_time(timestamp({info})[1d:5m]))) > bool 0",
        }
        for label, info in (
            ("queue", "dutiful_actor_info"),
            ("actor", "dutiful_actor_info"),
            ("schedule", "dutiful_schedule_info"),
        )
    ]
    return found


def _seconds(window: str) -> int:
    return int(window[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[window[-1]]
