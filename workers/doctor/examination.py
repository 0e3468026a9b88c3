"""The examination makes all checks, in the order in which a person mends what they find."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from workers.doctor import clocks, host, jobs, rabbitmq, rights, store
from workers.doctor.exposure import exposure
from workers.doctor.line import Line, ok, refused, unknown
from workers.errors import BrokerUnreachable
from workers.job_broker import JobBroker
from workers.management import Management, ManagementUnavailable
from workers.queues import management_of
from workers.rabbitmq import DutifulBroker
from workers.settings import Settings
from workers.store.readiness import packages_of


def examine(broker: JobBroker, chosen: Settings, schedules: str) -> Iterable[Line]:
    """Each line as soon as it is known. Nothing is changed.

    Parameters:
      broker: with its actors and its store; what it opens, its owner closes.
      schedules: the package with the timetable.
    """
    yield from ok("settings", f"{chosen.environment}")
    yield from exposure(chosen)
    yield from jobs.contracts(broker.actors)
    yield from jobs.limits(broker.actors, broker.limits)
    lines, timetable = jobs.timetable(schedules, broker.actors)
    yield from lines
    yield from _host(chosen)
    engine = broker.store
    schema, identity = store.schema(engine, packages_of(broker.actors.values()))
    yield from schema
    yield from clocks.store_clock(engine)
    delays = _Delays()
    yield from _broker(broker, chosen, (identity, schema[0].mend), delays)
    yield from jobs.keys(
        timedelta(seconds=chosen.store.key_ttl_seconds),
        broker.actors,
        timetable,
        backoff=timedelta(seconds=chosen.retries.max_backoff_seconds),
        waiting=jobs.delay_of(delays.levels),
    )


@dataclass
class _Delays:
    """Levels of the delay ladder in which messages were seen."""

    levels: list[int] = field(default_factory=list)


def _host(chosen: Settings) -> Iterable[Line]:
    folders = {"the working directory": Path.cwd()}
    address = make_url(chosen.store.url.get_secret_value())
    if address.drivername.startswith("sqlite") and address.database:
        database = Path(address.database).absolute()
        folders["the store"] = database.parent
        yield from host.volume(database)
    else:
        yield from ok("volume", "the store is no file")
    if chosen.metrics.directory is not None:
        folders["the counters"] = chosen.metrics.directory
    yield from host.room(folders)
    yield from host.counters(chosen.metrics.directory)


def _broker(broker: JobBroker, chosen: Settings, identity: tuple[str | None, str], delays: _Delays) -> Iterable[Line]:
    if not isinstance(broker, DutifulBroker):
        mend = "export DUTIFUL_RABBITMQ__URL=amqp://USER:PASSWORD@HOST:5672/VHOST"
        yield from unknown("rabbitmq", "a broker in memory has no queues", mend=mend)
        return
    queues = broker.get_declared_queues()
    lines, version = rabbitmq.reached(broker, queues)
    yield from lines
    if version is None:
        yield from unknown("vhost", "RabbitMQ doesn't answer, so nothing in it was looked at", mend=lines[0].mend)
        return
    url = chosen.rabbitmq.management_url
    management = management_of(broker, url.get_secret_value() if url else None)
    try:
        for found in rabbitmq.vhost_lines(broker, queues, management):
            yield from found
        yield from store.identity(broker, *identity)
        delays.levels = rabbitmq.delayed_for(broker)
        yield from rights.answered(broker, queues)
    except BrokerUnreachable as error:
        yield refused("vhost", error, mend="rabbitmq-diagnostics check_running # then start RabbitMQ")
    timeout = timedelta(seconds=chosen.rabbitmq.consumer_timeout_seconds)
    yield from rabbitmq.consumer_timeout(timeout, queues, _facts(management), version)
    yield from rabbitmq.disks(management)
    yield from clocks.broker_clock(management)


def _facts(management: Management | None) -> dict[str, dict[str, Any]] | None:
    try:
        return management.queues() if management else None
    except ManagementUnavailable:
        return None  # the line about policies has said so
