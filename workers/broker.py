"""The broker that Dramatiq's own worker and commands use: built from the settings, once a process."""

import random
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any, Final

import dramatiq
import pika
from dramatiq import Middleware
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.common import q_name
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import AsyncIO, Callbacks, Pipelines, TimeLimit
from pika import exceptions as amqp
from sqlalchemy import Engine

from workers import envelope
from workers.consumer import RabbitmqConsumer
from workers.delivery import Carried
from workers.errors import (
    BrokerUnreachable,
    ConfigurationError,
    ContractError,
    PublishRefused,
    PublishUnconfirmed,
    QueueMissing,
)
from workers.hooks import JobBroker
from workers.memory import MemoryBroker
from workers.middleware.arguments import CheckedArguments
from workers.middleware.current_job import CurrentJob
from workers.middleware.error_reports import ErrorReports
from workers.middleware.failures import Failures
from workers.middleware.idempotency import Idempotency
from workers.middleware.job_log import JobLog
from workers.middleware.job_metrics import JobMetrics
from workers.settings import Settings, settings
from workers.store.engine import create_store_engine
from workers.transport import topology
from workers.transport.link import LINK_ERRORS, NoAnswer, answered_within

_PUBLISH_ATTEMPTS: Final = 3
_EXIT_UNUSABLE: Final = 66
# Another try may help, on another connection or after declaring again.
_CURABLE: Final = (amqp.UnroutableError, *LINK_ERRORS, ConnectionClosed)


def build_middleware(chosen: Settings, engine: Engine) -> list[Middleware]:
    """The chain, outermost first: `before` hooks run from the top, `after` hooks from the bottom."""
    return [
        JobMetrics(
            host=chosen.metrics.host,
            port=chosen.metrics.port if chosen.metrics.port is not None else 9191,
            directory=chosen.metrics.directory,
            environment=chosen.environment,
        ),
        JobLog(
            level=chosen.logs.level,
            form=chosen.logs.format,
            success_lines=chosen.logs.success_lines,
            environment=chosen.environment,
        ),
        ErrorReports(
            dsn=chosen.sentry.dsn.get_secret_value() if chosen.sentry.dsn else None, environment=chosen.environment
        ),
        CurrentJob(engine),
        CheckedArguments(),
        Idempotency(engine),  # claims after the arguments are known to be good; records how the attempt ended
        Callbacks(),
        Pipelines(),
        Failures(  # decides how the attempt ended, and has its successor confirmed, before any of the above hears of it
            max_retries=chosen.retries.max_retries,
            min_backoff=timedelta(seconds=chosen.retries.min_backoff_seconds),
            max_backoff=timedelta(seconds=chosen.retries.max_backoff_seconds),
        ),
        AsyncIO(),
        TimeLimit(time_limit=chosen.worker.time_limit_seconds * 1000),  # last, so that it covers the job alone
    ]


@cache
def setup_broker() -> JobBroker:
    """The broker of this process, built from the settings and made Dramatiq's own.

    `actors/__init__.py` calls it first; another package of jobs does the same. It opens no connection.

    Raises:
      ConfigurationError: a setting can't work.
    """
    chosen = settings()
    engine = create_store_engine(chosen.store.url.get_secret_value(), pool_size=chosen.store.pool_size)
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
        )
    broker.store = engine
    dramatiq.set_broker(broker)
    return broker


class DutifulBroker(JobBroker, RabbitmqBroker):
    """RabbitMQ with quorum queues, confirms on every message, and delays that the broker keeps.

    Parameters:
      those of RabbitmqBroker; `confirm_delivery` is always on and `max_priority` is refused.
      heartbeat_seconds: how often the link is checked.
      connect_timeout_seconds: the longest that connecting may take.
      publish_timeout_seconds: how long a confirm is waited for.
      max_message_bytes: a larger message is refused.
    """

    def __init__(
        self,
        *,
        confirm_delivery: bool = True,
        max_priority: int | None = None,
        heartbeat_seconds: int = 10,
        connect_timeout_seconds: int = 5,
        publish_timeout_seconds: int = 10,
        max_message_bytes: int = 1_048_576,
        **options: Any,
    ) -> None:
        if not confirm_delivery or max_priority is not None:
            raise ConfigurationError(
                "the broker can't be built like this",
                expected="confirm_delivery left on, and no max_priority: quorum queues have none",
                received=f"confirm_delivery={confirm_delivery}, max_priority={max_priority}",
            )
        try:
            super().__init__(confirm_delivery=True, **options)
        except ValueError:
            raise ConfigurationError(
                "the address of RabbitMQ can't be read",
                expected="DUTIFUL_RABBITMQ__URL=amqp://user:password@host:5672/vhost, with a password's / as %2F",
            ) from None  # the error may hold a part of the password
        self.max_message_bytes = max_message_bytes
        self.publish_timeout_seconds = publish_timeout_seconds
        self._declaring = threading.Lock()
        self._vhost_declared = False
        several = self.parameters if isinstance(self.parameters, list) else [self.parameters]
        for each in several:
            each.heartbeat = heartbeat_seconds
            each.socket_timeout = connect_timeout_seconds
            each.stack_timeout = connect_timeout_seconds
            each.blocked_connection_timeout = publish_timeout_seconds
            each.tcp_options = {"TCP_USER_TIMEOUT": heartbeat_seconds * 1000}
            each.client_properties = {"connection_name": "dutiful"}

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Before a worker boots, make sure that its queues can be used; the rest is JobBroker's."""
        if signal == "worker_boot":
            self._refuse_a_broker_that_cannot_work()
        super().emit_before(signal, *args, **kwargs)

    def _refuse_a_broker_that_cannot_work(self) -> None:
        try:
            for queue in sorted(self.queues):
                self.declare_queue(queue, ensure=True)
        except ConnectionClosed as error:
            self.logger.warning("RabbitMQ can't be reached yet: %s", error)  # the consumers go on trying
        except ConfigurationError as error:
            self.logger.critical("RabbitMQ can't be used: %s", error)
            raise SystemExit(_EXIT_UNUSABLE) from None  # trying again would never help

    @property
    def consumer_class(self) -> type[RabbitmqConsumer]:
        """The consumer that Dramatiq's worker reads from."""
        return RabbitmqConsumer

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Make a queue known to this process; with `ensure`, to RabbitMQ.

        Dramatiq hears of no delay queue: RabbitMQ keeps the delays, and no worker holds messages for later.
        """
        name = q_name(queue_name)
        if name not in self.queues:
            self.emit_before("declare_queue", name)
            self.queues.add(name)
            self.queues_pending.add(name)
            self.emit_after("declare_queue", name)
        if ensure:
            self._ensure_queue(name)

    def _ensure_queue(self, canonical_queue_name: str) -> None:
        if canonical_queue_name not in self.queues_pending:
            return
        try:
            channel = self.channel  # before the lock: who can't connect holds nobody up
            with self._declaring:
                if canonical_queue_name not in self.queues_pending:
                    return
                if not self._vhost_declared:
                    topology.declare_vhost(channel)
                    self._vhost_declared = True
                topology.declare_queue(channel, canonical_queue_name)
                self.queues_pending.discard(canonical_queue_name)
        except LINK_ERRORS as error:
            del self.connection
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> Exception:
        """The error in words; what waiting can't mend is a ConfigurationError."""
        code = getattr(error, "reply_code", None)
        if code == 406:  # noqa: PLR2004  AMQP's PRECONDITION_FAILED
            return ConfigurationError(
                "a queue or exchange of that name exists with other arguments",
                expected="a vhost that dutiful alone uses: rabbitmqctl add_vhost NAME",
                received=str(getattr(error, "reply_text", error)),
            )
        if isinstance(error, (amqp.ProbableAuthenticationError, amqp.ProbableAccessDeniedError)) or code in {403, 530}:
            return ConfigurationError(
                "RabbitMQ refuses this user or vhost",
                expected="DUTIFUL_RABBITMQ__URL with a user that may configure, write and read its vhost; "
                "a missing vhost is made with: rabbitmqctl add_vhost NAME",
                received=repr(error),
            )
        return ConnectionClosed(error)  # type: ignore[no-untyped-call]

    def send_to_queue(self, message: Carried, delay: int | None) -> None:
        """Publish a message, and return when a quorum of disks has it.

        Raises:
          ContractError: it is too large, or the delay too long.
          QueueMissing, PublishRefused: it was not taken.
          PublishUnconfirmed: nobody knows.
        """
        body = envelope.body(message)
        if len(body) > self.max_message_bytes:
            raise ContractError(
                f"a message for {message.actor_name} is too large",
                expected=f"at most {self.max_message_bytes} bytes: send a reference instead of the data",
                received=f"{len(body)} bytes",
            )
        queue = q_name(message.queue_name)
        exchange, key = topology.delay_route(delay, queue) if delay and delay > 0 else (topology.JOBS, queue)
        self._send(queue, exchange, key, body, envelope.properties(message))

    def send_to_dead_queue(self, queue: str, body: bytes, properties: pika.BasicProperties) -> None:
        """Publish a dead letter; the same errors as send_to_queue."""
        # Through the default exchange, so that who may write to dutiful.jobs can't write dead letters.
        self._send(queue, "", topology.dead_queue(queue), body, properties)

    def bury(self, message: Carried, headers: Mapping[str, Any]) -> None:
        """Put a job among the dead letters of its queue."""
        self.send_to_dead_queue(
            q_name(message.queue_name), envelope.body(message), envelope.properties(message, extra=headers)
        )

    def _send(self, queue: str, exchange: str, key: str, body: bytes, properties: pika.BasicProperties) -> None:
        if queue not in self.queues:
            self.declare_queue(queue)
        last: Exception | None = None
        sent = False
        began = time.monotonic()
        for attempt in range(_PUBLISH_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, 0.5 * 2**attempt))  # noqa: S311  jitter is no secret
                if time.monotonic() - began > self.publish_timeout_seconds:
                    break
            try:
                self._ensure_queue(queue)
                channel = self.channel
                sent = True
                with answered_within(self.connection, self.publish_timeout_seconds):
                    channel.basic_publish(exchange, key, body, properties, mandatory=True)
                return
            except amqp.NackError as error:
                raise PublishRefused(
                    "RabbitMQ refused the message", expected="an ack", received=f"a nack for {exchange or key}"
                ) from error
            except (amqp.ConnectionBlockedTimeout, NoAnswer) as error:
                del self.connection
                raise self._unconfirmed(error) from error
            except _CURABLE as error:
                last = error
                self._recover(queue, error)
        if isinstance(last, amqp.UnroutableError):
            raise QueueMissing(
                "RabbitMQ returned the message", expected=f"a queue behind {exchange or key}", received="none"
            ) from last
        if not sent:
            raise BrokerUnreachable(
                "RabbitMQ can't be reached, so nothing was sent",
                expected="a broker at DUTIFUL_RABBITMQ__URL",
                received=str(last),
            ) from last
        raise self._unconfirmed(last) from last

    def _recover(self, queue: str, error: Exception) -> None:
        """Make ready for another try."""
        returned = isinstance(error, amqp.UnroutableError)
        if returned or getattr(error, "reply_code", None) == 404:  # noqa: PLR2004  AMQP's NOT_FOUND: the exchange
            # The queue, or everything in the vhost, was deleted behind us.
            self._vhost_declared = False
            self.queues_pending.add(queue)
        if not returned:
            del self.connection

    def _unconfirmed(self, error: Exception | None) -> PublishUnconfirmed:
        return PublishUnconfirmed(
            "RabbitMQ did not confirm the message", expected="a confirm in time", received=repr(error)
        )

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        """How many messages are in a queue: ready, delayed (always 0: delays aren't kept a queue), dead."""
        self.declare_queue(queue_name, ensure=True)
        ready = self.channel.queue_declare(queue_name, passive=True).method.message_count
        dead = self.channel.queue_declare(topology.dead_queue(queue_name), passive=True).method.message_count
        return ready, 0, dead
