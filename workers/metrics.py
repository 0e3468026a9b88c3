"""Every metric of a worker is defined here.

Import it late: prometheus_client decides at its own import whether counters are shared between processes.
"""

from prometheus_client import Counter, Gauge

from workers.histogram import Histogram

_JOB = ["queue", "actor"]
_TRIES = (1, 2, 3, 5, 8, 13)
_CALLS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)

jobs_enqueued = Counter("dutiful_jobs_enqueued_total", "Messages that were sent and confirmed.", _JOB)
job_attempts = Counter(
    "dutiful_job_attempts_total", "Attempts that ended: succeeded, retried, failed or interrupted.", [*_JOB, "outcome"]
)
jobs_finished = Counter(
    "dutiful_jobs_finished_total", "Jobs that ended: succeeded, dead, duplicate or superseded.", [*_JOB, "outcome"]
)
job_exceptions = Counter("dutiful_job_exceptions_total", "Exceptions that attempts raised.", ["actor", "exception"])
jobs_deferred = Counter("dutiful_jobs_deferred_total", "Jobs put back without spending an attempt.", [*_JOB, "why"])
jobs_dead_lettered = Counter("dutiful_jobs_dead_lettered_total", "Jobs that became dead letters.", [*_JOB, "reason"])
job_duration = Histogram("dutiful_job_duration_seconds", "How long attempts ran.", _JOB, buckets=_SECONDS)
job_wait = Histogram("dutiful_job_wait_seconds", "From sending a job to its first attempt.", _JOB, buckets=_SECONDS)
job_total = Histogram("dutiful_job_total_seconds", "From sending a job to its end.", _JOB, buckets=_SECONDS)
# In no registry: prometheus_client takes it for the counter of attempts, whose name is longer by _total.
attempts_needed = Histogram(
    "dutiful_job_attempts", "How many attempts jobs needed to end.", _JOB, buckets=_TRIES, registry=None
)
database_calls = Histogram(
    "dutiful_job_database_calls", "Statements of SQL that an attempt has sent.", ["actor"], buckets=_CALLS
)
jobs_running = Gauge("dutiful_jobs_running", "Attempts that run now.", _JOB, multiprocess_mode="livesum")
jobs_longest_running = Gauge(
    "dutiful_jobs_longest_running_seconds", "How long the longest attempt has run.", _JOB, multiprocess_mode="livemax"
)
worker_deaths = Counter("dutiful_worker_deaths_total", "Worker processes found dead, whose jobs were taken over.")
time_limits = Counter("dutiful_time_limits_total", "Attempts past their soft or hard limit.", ["actor", "kind"])

redeliveries = Counter("dutiful_redeliveries_total", "Messages that RabbitMQ had handed out before.", _JOB)
outbox_waiting = Gauge(
    "dutiful_outbox_waiting", "Rows of the publishers' outbox that wait.", multiprocess_mode="mostrecent"
)
outbox_oldest = Gauge(
    "dutiful_outbox_oldest_seconds", "How long the oldest of them has waited.", multiprocess_mode="mostrecent"
)
outbox_set_aside = Gauge(
    "dutiful_outbox_set_aside", "Rows that can never be published as they are.", multiprocess_mode="mostrecent"
)
outbox_relayed = Counter("dutiful_outbox_relayed_total", "Messages of an outbox that were published.")
outbox_failures = Counter(
    "dutiful_outbox_failures_total", "Messages of an outbox that were not published: set_aside or not_taken.", ["why"]
)
label_overflows = Counter(
    "dutiful_label_overflows_total", "Counts that went under _other: there were too many names.", ["label"]
)
queue_prefetch = Gauge(
    "dutiful_queue_prefetch", "Messages that a worker process fetches ahead.", ["queue"], multiprocess_mode="max"
)
paused = Gauge(
    "dutiful_paused",
    "1 while an actor, a queue or a schedule is paused.",
    ["kind", "name"],
    multiprocess_mode="mostrecent",
)
store_up = Gauge("dutiful_store_up", "Whether every worker process reaches the store.", multiprocess_mode="livemin")
store_seconds = Histogram(
    "dutiful_store_seconds", "How long the store took to answer.", ["operation"], buckets=_SECONDS
)
broker_blocked = Gauge(
    "dutiful_broker_blocked", "Whether RabbitMQ takes no messages from a process.", multiprocess_mode="livemax"
)
broker_errors = Counter(
    "dutiful_broker_errors_total", "Connections and messages that RabbitMQ did not take or keep.", ["operation"]
)
stale_settlements = Counter(
    "dutiful_stale_settlements_total", "Messages that ended on a channel that was gone; they come again."
)
queue_probe = Gauge(
    "dutiful_queue_probe_timestamp_seconds",
    "Everything that was sent before this moment has left the queue.",
    ["queue"],
    multiprocess_mode="livemin",
)
worker_threads = Gauge("dutiful_worker_threads", "Jobs that may run at once.", multiprocess_mode="livesum")
worker_start_time = Gauge(
    "dutiful_worker_start_time_seconds", "When the youngest worker process began.", multiprocess_mode="livemax"
)
worker_beat = Gauge(
    "dutiful_worker_beat_timestamp_seconds",
    "When the worker process that is silent for longest was last seen.",
    multiprocess_mode="livemin",
)
worker_memory = Gauge(
    "dutiful_worker_memory_bytes", "Resident memory of the largest worker process.", multiprocess_mode="livemax"
)
actor_info = Gauge(
    "dutiful_actor_info", "One for each actor.", ["actor", "queue", "owner"], multiprocess_mode="livemax"
)
build_info = Gauge(
    "dutiful_build_info", "What runs here.", ["version", "revision", "environment"], multiprocess_mode="livemax"
)
