"""The broker that Dramatiq's own worker and commands use: built from the settings, once a process."""

from datetime import timedelta
from functools import cache

import dramatiq
from dramatiq import Middleware
from dramatiq.middleware import AsyncIO
from sqlalchemy import Engine

from workers.child import serve
from workers.children import Children
from workers.job_broker import JobBroker
from workers.limits import Limits
from workers.memory import MemoryBroker
from workers.middleware.arguments import CheckedArguments
from workers.middleware.current_job import CurrentJob
from workers.middleware.error_reports import ErrorReports
from workers.middleware.expiry import Expiry
from workers.middleware.failures import Failures
from workers.middleware.idempotency import Idempotency
from workers.middleware.isolation import Isolation
from workers.middleware.job_log import JobLog
from workers.middleware.job_metrics import JobMetrics
from workers.middleware.outbox_relay import OutboxRelay
from workers.middleware.pauses import Pauses
from workers.middleware.stuck_jobs import StuckJobs
from workers.middleware.successors import Successors
from workers.middleware.time_limit import TimeLimit
from workers.middleware.tracing import tracing
from workers.middleware.vital_signs import VitalSigns
from workers.rabbitmq import DutifulBroker
from workers.settings import Settings, settings
from workers.store.engine import create_store_engine


def build_middleware(chosen: Settings, engine: Engine) -> list[Middleware]:
    """The chain, outermost first: `before` hooks run from the top, `after` hooks from the bottom."""
    limits = limits_of(chosen)
    time_limit = TimeLimit(limits)
    return [
        JobMetrics(
            host=chosen.metrics.host,
            port=chosen.metrics.port if chosen.metrics.port is not None else 9191,
            directory=chosen.metrics.directory,
            environment=chosen.environment,
            revision=chosen.revision,
        ),
        JobLog(
            level=chosen.logs.level,
            form=chosen.logs.format,
            success_lines=chosen.logs.success_lines,
            environment=chosen.environment,
        ),
        *tracing(),
        ErrorReports(
            dsn=chosen.sentry.dsn.get_secret_value() if chosen.sentry.dsn else None,
            environment=chosen.environment,
            revision=chosen.revision,
        ),
        CurrentJob(engine),
        CheckedArguments(),
        StuckJobs(time_limit),  # before the last endings are recorded
        Idempotency(engine),  # claims after the arguments are known to be good; records how the attempt ended
        Expiry(),
        OutboxRelay(engine),  # after it, because it has made the store ready
        VitalSigns(engine, limits),  # as the relay, it has no part in jobs
        Pauses(engine),  # nothing of what is paused begins
        Successors(engine),  # what follows from the job: stored by the above in the commit that marks it done
        Failures(  # decides how the attempt ended, and has its successor confirmed, before any of the above hears of it
            max_retries=chosen.retries.max_retries,
            min_backoff=timedelta(seconds=chosen.retries.min_backoff_seconds),
            max_backoff=timedelta(seconds=chosen.retries.max_backoff_seconds),
        ),
        AsyncIO(),
        Isolation(
            None if chosen.rabbitmq.in_memory else Children(serve, chosen.worker.child_jobs, preload=__name__),
            memory_limit=chosen.worker.memory_limit_megabytes,
            crash_limit=chosen.worker.crash_limit,
        ),
        time_limit,  # last, so that it covers the job alone
    ]


def limits_of(chosen: Settings) -> Limits:
    """How long attempts may take."""
    return Limits(
        soft=timedelta(seconds=chosen.worker.time_limit_seconds),
        hard=timedelta(seconds=chosen.worker.hard_time_limit_seconds),
        grace=timedelta(seconds=chosen.worker.grace_seconds),
        consumer_timeout=timedelta(seconds=chosen.rabbitmq.consumer_timeout_seconds),
    )


@cache
def setup_broker() -> JobBroker:
    """The broker of this process, built from the settings and made Dramatiq's own.

    `actors/__init__.py` calls it first; another package of jobs does the same. It opens no connection.

    Raises:
      ConfigurationError: a setting can't work.
    """
    chosen = settings()
    engine = create_store_engine(
        chosen.store.url.get_secret_value(), pool_size=chosen.store.pool_size, ca_path=chosen.store.ca_path
    )
    middleware = build_middleware(chosen, engine)
    broker: JobBroker
    if chosen.rabbitmq.in_memory:
        broker = MemoryBroker(middleware=middleware)
    else:
        broker = DutifulBroker(
            url=chosen.rabbitmq.url.get_secret_value(),
            middleware=middleware,
            heartbeat_seconds=chosen.rabbitmq.heartbeat_seconds,
            connect_timeout_seconds=chosen.rabbitmq.connect_timeout_seconds,
            publish_timeout_seconds=chosen.rabbitmq.publish_timeout_seconds,
            max_message_bytes=chosen.rabbitmq.max_message_bytes,
            ca_path=chosen.rabbitmq.ca_path,
        )
    broker.store, broker.limits = engine, limits_of(chosen)
    dramatiq.set_broker(broker)
    return broker


__all__ = ["DutifulBroker", "build_middleware", "setup_broker"]
