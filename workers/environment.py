"""The environment becomes settings here, and nowhere else: a tree of groups, in which a misspelt name is refused."""

import difflib
import os
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError
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
