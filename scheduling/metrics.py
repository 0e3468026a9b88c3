"""A scheduler's metrics are defined here; every scheduler of a timetable shows the same values."""

from prometheus_client import Gauge

schedule_last_published = Gauge(
    "dutiful_schedule_last_published_timestamp_seconds",
    "The due time of the latest tick, once it is published; 0 before the first.",
    ["schedule"],
)
schedule_next_due = Gauge(
    "dutiful_schedule_next_due_timestamp_seconds",
    "The earliest tick that isn't published yet. In the past: it waits for the broker, or the store is away.",
    ["schedule"],
)
