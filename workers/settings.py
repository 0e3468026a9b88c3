"""The settings tree reads the environment, and nothing else does."""

import difflib
import os
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from workers.errors import ConfigurationError


class Group(BaseModel):
    """Settings that belong together: `DUTIFUL_<GROUP>__<FIELD>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Tree(BaseSettings):
    """Settings from variables with one prefix; a name that doesn't exist is refused.

    A field is `<PREFIX><FIELD>`, a field of a group `<PREFIX><GROUP>__<FIELD>`. Any of them may be given as a file
    instead, by the same name with `_FILE` behind it.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid")
    prefix: ClassVar[str]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  replaced: it lets misspelt names pass
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  .env belongs to docker compose
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  `_FILE` takes its place
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values given in code win over the environment; there is no third source."""
        return init_settings, _Environment(settings_cls)

    @classmethod
    def variables(cls) -> dict[str, tuple[str, ...]]:
        """Every variable by name, with the path of its field."""
        names: dict[str, tuple[str, ...]] = {}
        for name, field in cls.model_fields.items():
            group = field.annotation
            if isinstance(group, type) and issubclass(group, Group):
                for inner in group.model_fields:
                    names[f"{cls.prefix}{name}__{inner}".upper()] = (name, inner)
            else:
                names[f"{cls.prefix}{name}".upper()] = (name,)
        return names

    @classmethod
    def load(cls) -> Self:
        """The settings of this process.

        Raises:
          ConfigurationError: a variable is misspelt or has a value that can't work. It names each such variable.
        """
        try:
            return cls()
        except ValidationError as error:
            names = {path: name for name, path in cls.variables().items()}
            problems = [
                f"{names.get(tuple(map(str, found['loc'])), cls.prefix + '*')}: {found['msg']}"
                for found in error.errors(include_input=False, include_url=False)
            ]
            raise ConfigurationError(
                "settings can't be used: " + "; ".join(problems), expected="the values that .env.example describes"
            ) from None


class _Environment(PydanticBaseSettingsSource):
    """Reads the variables of one tree, and refuses the ones that it doesn't know."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # pydantic-settings asks for it; __call__ below reads all at once

    def __call__(self) -> dict[str, Any]:
        tree = self.settings_cls
        assert issubclass(tree, Tree)  # noqa: S101  narrows the type: only Tree uses this source
        known = tree.variables()
        values: dict[str, Any] = {}
        for name in sorted(os.environ):
            if not name.startswith(tree.prefix):
                continue
            plain = name.removesuffix("_FILE") if name not in known else name
            if plain not in known:
                raise _unknown(name, list(known))
            if name != plain and plain in os.environ:
                raise ConfigurationError(f"{plain} and {name} are both set", expected="one of the two")
            place = values
            *groups, field = known[plain]
            for group in groups:
                place = place.setdefault(group, {})
            place[field] = os.environ[name] if name == plain else _content(name)
        return values


def _unknown(name: str, known: list[str]) -> ConfigurationError:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
    return ConfigurationError(f"there is no setting {name}", expected=f"a name such as {nearest[0]}", received=name)


def _content(name: str) -> str:
    path = Path(os.environ[name])
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{name} names a file that can't be read", expected="a text file", received=f"{path}: {error}"
        ) from error


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
    max_message_bytes: int = Field(1_048_576, ge=1024, le=16_000_000, description="a larger message is refused")
    management_url: SecretStr | None = Field(
        None,
        description="http(s) address of RabbitMQ's management page, such as http://127.0.0.1:15672, for "
        "`dutiful queues`; without user and password in it, those of the AMQP address are used",
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
            if urlsplit(address).scheme not in {"amqp", "amqps", "memory"}:
                raise ValueError("an address begins with amqp://, amqps:// or memory://")
        return url

    @property
    def in_memory(self) -> bool:
        """Whether the broker lives inside this process."""
        return self.url.get_secret_value().startswith("memory:")


class Store(Group):
    """What must be remembered about jobs."""

    url: SecretStr = Field(
        SecretStr("sqlite:///dutiful.db"),
        description="sqlite:////path/to/file.db (one host) or postgresql+psycopg://user:password@host:5432/name",
    )
    pool_size: int = Field(
        10, ge=1, le=100, description="connections that one process keeps; ten more may open at a peak"
    )
    key_ttl_seconds: int = Field(
        604_800, ge=3600, description="how long `dutiful store purge` keeps the key of a job that has ended"
    )


class Worker(Group):
    """How jobs run."""

    time_limit_seconds: int = Field(600, ge=1, le=1500, description="soft limit where the actor states none")


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


class Sentry(Group):
    """Error reports."""

    dsn: SecretStr | None = Field(None, description="nothing is sent without it")


class Settings(Tree):
    """Everything that can be set about the runtime; each field says its unit."""

    prefix: ClassVar[str] = "DUTIFUL_"

    environment: Literal["development", "staging", "production"] = Field(
        "development", description="is in logs, error reports and metrics"
    )
    revision: str = Field("", description="of the code that runs, such as a commit; it marks a deployment in metrics")
    rabbitmq: RabbitMQ = Field(default_factory=RabbitMQ)  # type: ignore[arg-type]  # every field has a default
    store: Store = Field(default_factory=Store)  # type: ignore[arg-type]
    worker: Worker = Field(default_factory=Worker)  # type: ignore[arg-type]
    retries: Retries = Field(default_factory=Retries)  # type: ignore[arg-type]
    metrics: Metrics = Field(default_factory=Metrics)  # type: ignore[arg-type]
    logs: Logs = Field(default_factory=Logs)  # type: ignore[arg-type]
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
