"""Checking compares JSON with the words of JSON Schema that exported contracts use; the worker knows all of them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import AnyUrl, AwareDatetime, NaiveDatetime, TypeAdapter, ValidationError

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list, tuple),
}
_FORMATS: Final[dict[str, TypeAdapter[Any]]] = {
    "date-time": TypeAdapter(AwareDatetime | NaiveDatetime),
    "uri": TypeAdapter(AnyUrl),
}
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_BOUNDS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}
_COUNTED: Final[dict[Any, str]] = {str: "Length", list: "Items", tuple: "Items", dict: "Properties"}
_SIZES: Final[dict[str, Callable[[int, int], bool]]] = {"min": int.__ge__, "max": int.__le__}


def faults(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """What is wrong with a value, each with its place; no value is told."""
    found: list[str] = []
    _look("", value, schema, schema, found)
    return found


def _look(where: str, value: Any, rules: Any, document: Mapping[str, Any], found: list[str]) -> None:
    if isinstance(rules, bool):
        found.extend([] if rules else [_at(where, "is not taken")])
        return
    also = [_target(rules["$ref"], document)] if "$ref" in rules else []
    for each in [*also, *rules.get("allOf", ())]:
        _look(where, value, each, document, found)
    choices = rules.get("anyOf", rules.get("oneOf"))
    if choices is not None and not any(_is_taken(value, each, document) for each in choices):
        found.append(_at(where, f"is none of {', '.join(_told(each) for each in choices)}"))
    if not _is_of_type(value, rules.get("type")):
        found.append(_at(where, f"is no {_told(rules)}"))
        return
    listed = [rules["const"]] if "const" in rules else rules.get("enum", [value])
    if value not in listed:
        found.append(_at(where, f"is none of {', '.join(map(repr, listed))}"))
    _look_at_bounds(where, value, rules, found)
    if isinstance(value, dict):
        _look_at_object(where, value, rules, document, found)
    elif isinstance(value, list | tuple):
        _look_at_list(where, value, rules, document, found)
    elif isinstance(value, str):
        _look_at_text(where, value, rules, found)


def _look_at_bounds(where: str, value: Any, rules: Mapping[str, Any], found: list[str]) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        found.extend(
            _at(where, f"breaks {name} {rules[name]}")
            for name, holds in _BOUNDS.items()
            if name in rules and not holds(value, rules[name])
        )
    kind = _COUNTED.get(type(value), "")
    found.extend(
        _at(where, f"breaks {name}{kind} {rules[f'{name}{kind}']}")
        for name, holds in _SIZES.items()
        if f"{name}{kind}" in rules and not holds(len(value), rules[f"{name}{kind}"])
    )


def _look_at_object(
    where: str, value: Mapping[str, Any], rules: Mapping[str, Any], document: Mapping[str, Any], found: list[str]
) -> None:
    properties, others = rules.get("properties", {}), rules.get("additionalProperties", True)
    found.extend(_at(_inside(where, name), "is missing") for name in rules.get("required", ()) if name not in value)
    for name, each in value.items():
        if name in properties:
            _look(_inside(where, name), each, properties[name], document, found)
        elif others is False:
            found.append(_at(_inside(where, name), "is no argument" if not where else "is not taken"))
        else:
            _look(_inside(where, name), each, others, document, found)


def _look_at_list(
    where: str, value: Any, rules: Mapping[str, Any], document: Mapping[str, Any], found: list[str]
) -> None:
    first = rules.get("prefixItems", [])
    for place, each in enumerate(value):
        _look(
            f"{where}[{place}]", each, first[place] if place < len(first) else rules.get("items", True), document, found
        )


def _look_at_text(where: str, value: str, rules: Mapping[str, Any], found: list[str]) -> None:
    if "pattern" in rules and not re.search(rules["pattern"], value):
        found.append(_at(where, f"does not match {rules['pattern']}"))
    form = rules.get("format")
    if form == "uuid" and not _UUID.fullmatch(value):
        found.append(_at(where, "is no uuid"))
    if form in _FORMATS:
        try:
            _FORMATS[form].validate_python(value)
        except ValidationError:
            found.append(_at(where, f"is no {form}"))


def _is_taken(value: Any, rules: Any, document: Mapping[str, Any]) -> bool:
    found: list[str] = []
    _look("", value, rules, document, found)
    return not found


def _is_of_type(value: Any, said: Any) -> bool:
    if said is None:
        return True
    if isinstance(said, list):
        return any(_is_of_type(value, each) for each in said)
    if isinstance(value, bool):
        return bool(said == "boolean")
    if said == "integer" and isinstance(value, float):
        return value.is_integer()  # JSON means the same by 2 and 2.0
    return isinstance(value, _TYPES[said])


def _target(reference: str, document: Mapping[str, Any]) -> Any:
    found: Any = document
    for word in reference.removeprefix("#/").split("/"):
        found = found[word.replace("~1", "/").replace("~0", "~")]
    return found


def _told(rules: Any) -> str:
    if not isinstance(rules, Mapping):
        return "anything"
    return str(rules.get("type") or rules.get("title") or rules.get("$ref", "").rpartition("/")[2] or "choice")


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _at(where: str, fault: str) -> str:
    return f"{where or 'the arguments'}: {fault}" if where else fault
