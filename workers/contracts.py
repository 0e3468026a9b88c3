"""What a message must look like: the arguments of an actor, checked before they are sent and again before they run."""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import to_jsonable_python

from workers.depth import refuse_too_deep
from workers.errors import ConfigurationError, ContractError

_SAYS_NOTHING: Final = frozenset({"title", "description", "default", "examples"})
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Arguments:
    """One job's arguments, by parameter name.

    Attributes:
      values: what the function is called with.
      wire: the same as JSON types, without the defaults that the sender left out.
      awaits: the one that is missing, where one may be; there are no values then.
    """

    values: dict[str, Any]
    wire: dict[str, Any]
    awaits: str | None = None


class Contract:
    """The arguments that one actor takes.

    Parameters:
      actor_name: named in every error.
      fn: the function; its annotations are the contract. A parameter without one takes anything.

    Attributes:
      version: eight characters that change with what is accepted; each message that is sent says which was meant.

    Raises:
      ConfigurationError: the signature can't be a contract.
    """

    def __init__(self, actor_name: str, fn: Callable[..., Any]) -> None:
        self.actor_name = actor_name
        self.signature = inspect.signature(fn)
        hints = get_type_hints(fn, include_extras=True)
        self._fields = {name: f"argument_{name}" for name in self.signature.parameters}
        fields: dict[str, Any] = {}
        for name, parameter in self.signature.parameters.items():
            if parameter.kind not in _NAMED:
                raise ConfigurationError(
                    f"actor {actor_name} can't be declared",
                    expected="parameters with names, so that messages can carry them by name",
                    received=f"the parameter {parameter}",
                )
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            # The alias carries the name, because a model's own methods (json, copy) are lawful parameter names.
            fields[self._fields[name]] = (hints.get(name, Any), Field(default, alias=name))
        self.model: type[BaseModel] = create_model(
            f"{actor_name} arguments", __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields
        )
        rules = self.rules()
        if '"writeOnly"' in json.dumps(rules):
            raise ConfigurationError(
                f"actor {actor_name} can't be declared",
                expected="a reference to the secret, which the job looks up",
                received="a secret among the arguments: messages lie on the broker's disk in plain text",
            )
        self.version = _version(rules)

    def rules(self) -> dict[str, Any]:
        """What is accepted, in the words of JSON Schema."""
        made = self.model.model_json_schema(by_alias=True)
        for each in made["properties"].values():
            each.pop("title", None)  # pydantic repeats the name there
        return {name: value for name, value in made.items() if name != "title"}

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by parameter name, as they came.

        Raises:
          ContractError: there are too many, or one has a name that no parameter has.
        """
        if not args:
            return dict(kwargs)
        try:
            return dict(self.signature.bind_partial(*args, **kwargs).arguments)
        except TypeError as error:
            raise self._refusal(str(error), [f"{len(args)} by position", *kwargs]) from None

    def next_argument(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
        """The name of the first argument that isn't given, which a result would be; None where all are."""
        given = self.bind(args, kwargs)
        return next((name for name in self.signature.parameters if name not in given), None)

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, but_one: bool = False) -> Arguments:
        """The arguments, validated.

        Parameters:
          args, kwargs: as they came.
          but_one: one required argument may be missing: the result of another job will be it.

        Raises:
          ContractError: they don't match; it names each argument at fault. Or they nest deeper than 64.
        """
        given = self.bind(args, kwargs)
        try:
            model = self._validated(given)
        except ContractError:
            awaits = self._lacks(given) if but_one else None
            if awaits is None:
                raise
            return Arguments({}, to_jsonable_python(given), awaits=awaits)
        try:
            wire = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
        except (ValueError, RecursionError) as error:  # what can't be written as JSON, or nests without end
            raise self._refusal(str(error), list(kwargs)) from None
        refuse_too_deep(self.actor_name, wire)
        return Arguments(self._values(model), wire)

    def accept(self, given: dict[str, Any]) -> dict[str, Any]:
        """What the function is called with, for arguments that came, as `bind` returns them.

        Raises:
          ContractError: they don't match; it names each argument at fault.
        """
        return self._values(self._validated(given))

    def _lacks(self, given: dict[str, Any]) -> str | None:
        """The name of the one required argument that isn't there, where nothing else is wrong."""
        try:
            self.model.model_validate(given)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            if [each["type"] for each in found] == ["missing"] and len(found[0]["loc"]) == 1:
                return str(found[0]["loc"][0])
        except (ValueError, RecursionError):
            pass  # it is refused with its reason next
        return None

    def _validated(self, given: dict[str, Any]) -> BaseModel:
        try:
            return self.model.model_validate(given)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            said = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)
            raise self._refusal(said, list(given)) from None
        except (ValueError, RecursionError) as error:  # it nests without end
            raise self._refusal(str(error), list(given)) from None

    def _values(self, model: BaseModel) -> dict[str, Any]:
        return {name: getattr(model, field) for name, field in self._fields.items()}

    def _refusal(self, problem: str, names: list[str]) -> ContractError:
        return ContractError(
            f"{self.actor_name} can't take these arguments: {problem}",
            expected=f"{self.actor_name}{self.signature}",
            received=f"arguments {', '.join(names) or 'none'}",
        )


def _version(rules: dict[str, Any]) -> str:
    text = json.dumps(_bare(rules), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _bare(rules: Any, *, names: bool = False) -> Any:
    """The rules without words that change nothing about what is accepted.

    Parameters:
      names: these are names that people chose, such as an argument called "title".
    """
    if isinstance(rules, dict):
        kept = {word: rule for word, rule in rules.items() if names or word not in _SAYS_NOTHING}
        return {
            word: _bare(rule, names=not names and word in {"properties", "$defs"})
            if word not in {"enum", "const"}
            else rule
            for word, rule in kept.items()
        }
    return [_bare(each) for each in rules] if isinstance(rules, list) else rules


def arguments_hash(actor_name: str, wire: Mapping[str, Any]) -> str:
    """What is alike for alike arguments: over the wire arguments by name, sorted, without defaults filled in."""
    text = _canonical([actor_name, dict(wire)])
    if ".0" in text or "e+" in text:
        # Perhaps a number such as 2.0. Other languages write it as 2, and JSON means the same by both.
        text = _canonical(_whole([actor_name, dict(wire)]))
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


# json.dumps would make an encoder each time.
_canonical: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def _whole(value: Any) -> Any:
    """The same JSON with every whole number written as one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(each) for each in value]
    return value
