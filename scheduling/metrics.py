"""A scheduler's metrics are defined here; every scheduler of a timetable shows the same gauges."""

from prometheus_client import PROCESS_COLLECTOR, CollectorRegistry, Counter, Gauge, generate_latest

from workers.metrics import broker_errors, build_info, jobs_enqueued

schedule_last_published = Gauge(
    "dutiful_schedule_last_published_timestamp_seconds",
    "The due time of the latest tick, once it is published; 0 before the first.",
    ["schedule"],
)
schedule_last_succeeded = Gauge(
    "dutiful_schedule_last_succeeded_timestamp_seconds",
    "When the job of the latest tick that succeeded did so; 0 before the first.",
    ["schedule"],
)
schedule_next_due = Gauge(
    "dutiful_schedule_next_due_timestamp_seconds",
    "The earliest tick that isn't published yet. In the past: it waits for the broker, or the store is away.",
    ["schedule"],
)
schedule_interval = Gauge(
    "dutiful_schedule_interval_seconds", "From the next due time of the schedule to the one after it.", ["schedule"]
)
schedule_skipped = Counter(
    "dutiful_schedule_skipped_total",
    "Due times left out by this scheduler, as their schedule says: missed, overlap or paused.",
    ["schedule", "why"],
)
schedule_info = Gauge(
    "dutiful_schedule_info", "One for each schedule: its actor, and who answers for it.", ["schedule", "actor", "owner"]
)


def text() -> bytes:
    """What is true of a scheduler, as Prometheus reads it: nothing of a worker's store, threads or jobs."""
    return generate_latest(_REGISTRY)


_REGISTRY = CollectorRegistry()
for _collector in (
    PROCESS_COLLECTOR,
    build_info,
    jobs_enqueued,
    broker_errors,
    schedule_info,
    schedule_last_published,
    schedule_last_succeeded,
    schedule_next_due,
    schedule_interval,
    schedule_skipped,
):
    _REGISTRY.register(_collector)
