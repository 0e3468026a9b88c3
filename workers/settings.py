"""The settings tree says what can be set about the runtime; workers.environment reads it."""

from functools import cache
from pathlib import Path
from typing import ClassVar, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator

from workers.environment import Group, Tree


class RabbitMQ(Group):
    """The broker."""

    url: SecretStr = Field(
        SecretStr("amqp://guest:guest@127.0.0.1:5672/dutiful"),
        description="AMQP address with the vhost that dutiful owns; several, with ; between them, are tried in turn. "
        "memory:// is a broker inside the process, for tests",
    )
    heartbeat_seconds: int = Field(10, ge=2, le=15, description="how often the link is checked")
    connect_timeout_seconds: int = Field(5, ge=1, le=60, description="the longest that connecting may take")
    publish_timeout_seconds: int = Field(10, ge=1, le=120, description="by when a message must be confirmed")
    consumer_timeout_seconds: int = Field(
        1800, ge=60, description="RabbitMQ's consumer_timeout, which no attempt with its grace may reach"
    )
    max_message_bytes: int = Field(1_048_576, ge=1024, le=16_000_000, description="a larger message is refused")
    management_url: SecretStr | None = Field(
        None,
        description="http(s) address of RabbitMQ's management page, such as http://127.0.0.1:15672, for "
        "`dutiful queues`; without user and password in it, those of the AMQP address are used",
    )
    ca_path: FilePath | None = Field(
        None,
        description="PEM file of the authorities that may sign RabbitMQ's certificate, for amqps:// and https://; "
        "default: those that this system trusts. Signature, host name and dates are always checked",
    )

    @field_validator("management_url")
    @classmethod
    def _is_a_web_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parts = urlsplit(url.get_secret_value())
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError("an address begins with http:// or https:// and has a host")
        return url

    @field_validator("url")
    @classmethod
    def _has_a_scheme_that_we_speak(cls, url: SecretStr) -> SecretStr:
        for address in url.get_secret_value().split(";"):
            parts = urlsplit(address)
            if parts.scheme not in {"amqp", "amqps", "memory"}:
                raise ValueError("an address begins with amqp://, amqps:// or memory://")
            if "ssl_options" in parse_qs(parts.query):
                raise ValueError("ssl_options can't be in an address: certificates are always checked, see CA_PATH")
        return url

    @property
    def in_memory(self) -> bool:
        """Whether the broker lives inside this process."""
        return self.url.get_secret_value().startswith("memory:")


class Users(Group):
    """Passwords that `dutiful users declare` gives RabbitMQ's users; nothing else reads them."""

    publisher_password: SecretStr | None = Field(None, description="of services that publish")
    worker_password: SecretStr | None = Field(None, description="of workers, schedulers and gateways")
    operator_password: SecretStr | None = Field(None, description="of people who run `dutiful`")
    metrics_password: SecretStr | None = Field(None, description="of what looks at RabbitMQ's management page")


class Store(Group):
    """What must be remembered about jobs."""

    url: SecretStr = Field(
        SecretStr("sqlite:///dutiful.db"),
        description="sqlite:////path/to/file.db (one host) or postgresql+psycopg://user:password@host:5432/name",
    )
    pool_size: int = Field(
        10, ge=1, le=100, description="connections that one process keeps; ten more may open at a peak"
    )
    ca_path: FilePath | None = Field(
        None,
        description="PEM file of the authorities that may sign PostgreSQL's certificate; with it, TLS is used, and "
        "signature, host name and dates are checked. Without it, the address says",
    )
    key_ttl_seconds: int = Field(
        604_800, ge=3600, description="how long `dutiful store purge` keeps the key of a job that has ended"
    )


class Worker(Group):
    """How jobs run."""

    time_limit_seconds: int = Field(600, ge=1, le=1500, description="soft limit where the actor states none")
    hard_time_limit_seconds: int = Field(900, ge=2, le=1700, description="hard limit where the actor states none")
    grace_seconds: int = Field(
        20, ge=0, le=600, description="how long jobs may go on in a worker that stops; below --worker-shutdown-timeout"
    )
    memory_limit_megabytes: int = Field(
        1024, ge=128, description="memory of an isolated job where the actor states none"
    )
    child_jobs: int = Field(1000, ge=1, description="isolated jobs after which a child process is replaced")
    crash_limit: int = Field(3, ge=2, le=100, description="deaths of its process after which a job is a dead letter")

    @model_validator(mode="after")
    def _soft_is_below_hard(self) -> Self:
        if self.time_limit_seconds >= self.hard_time_limit_seconds:
            raise ValueError("the soft limit, TIME_LIMIT_SECONDS, is below HARD_TIME_LIMIT_SECONDS")
        return self


class Retries(Group):
    """How failed attempts are tried again, where the actor states nothing."""

    max_retries: int = Field(8, ge=0, le=100, description="tries after the first")
    min_backoff_seconds: int = Field(5, ge=1, description="the first delay is at most twice this")
    max_backoff_seconds: int = Field(3600, ge=1, description="no delay is longer")


class Metrics(Group):
    """Where /metrics and /health are served."""

    host: str = Field("127.0.0.1", description="0.0.0.0 inside a container")
    port: int | None = Field(None, ge=0, le=65535, description="workers 9191 and schedulers 9192 unless this says more")
    directory: Path | None = Field(None, description="where processes leave counters; default: a new folder")


class Logs(Group):
    """What is written, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="the least that is written")
    format: Literal["json", "console"] = Field("json", description="json: one object a line; console: for people")
    success_lines: bool = Field(default=True, description="one line for each job that succeeded")


class Gateway(Group):
    """HTTP for other services."""

    package: str = Field("actors", description="the package whose jobs it accepts")
    threads: int = Field(
        32, ge=1, le=256, description="requests that publish at the same time; four times as many wait, others get 503"
    )


class Sentry(Group):
    """Error reports."""

    dsn: SecretStr | None = Field(None, description="nothing is sent without it")


class Settings(Tree):
    """Everything that can be set about the runtime; each field says its unit."""

    prefix: ClassVar[str] = "DUTIFUL_"

    environment: Literal["development", "staging", "production"] = Field(
        "development", description="is in logs, error reports and metrics"
    )
    private_network: bool = Field(
        default=False,
        description="no stranger can listen between these processes, RabbitMQ and the store, nor reach /metrics, as "
        "among containers of one host: `dutiful doctor` asks for no TLS there",
    )
    revision: str = Field("", description="of the code that runs, such as a commit; it marks a deployment in metrics")
    rabbitmq: RabbitMQ = Field(default_factory=RabbitMQ)  # type: ignore[arg-type]  # every field has a default
    users: Users = Field(default_factory=Users)  # type: ignore[arg-type]
    store: Store = Field(default_factory=Store)  # type: ignore[arg-type]
    worker: Worker = Field(default_factory=Worker)  # type: ignore[arg-type]
    retries: Retries = Field(default_factory=Retries)  # type: ignore[arg-type]
    metrics: Metrics = Field(default_factory=Metrics)  # type: ignore[arg-type]
    logs: Logs = Field(default_factory=Logs)  # type: ignore[arg-type]
    gateway: Gateway = Field(default_factory=Gateway)  # type: ignore[arg-type]
    sentry: Sentry = Field(default_factory=Sentry)  # type: ignore[arg-type]

    @model_validator(mode="after")
    def _memory_is_for_development(self) -> Self:
        if self.rabbitmq.in_memory and self.environment != "development":
            raise ValueError(f"a memory:// broker loses every job at exit; it can't serve {self.environment}")
        return self


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings.load()
