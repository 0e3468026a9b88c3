"""Compatibility tells what in a changed schema would refuse messages that were made for the one before.

It compares rules, not values, so it may refuse a change that is harmless; it lets none pass that it can't judge.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_BESIDE: Final = (
    "declare a new actor beside it, move the publishers to that one, and remove this one when no message of it waits"
)
_BOTH: Final = f"take both until no older message waits; or {_BESIDE}"
_DEFAULT: Final = "give it a default, which messages that wait then get"
_KEEP: Final = (
    "keep it, unused and with a default, until no message with it waits; then delete the older contract's file"
)

# A rule that only gets stricter by growing, by shrinking, or by being there at all.
_FLOORS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_CEILINGS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_ALIKE: Final = (
    "pattern",
    "format",
    "multipleOf",
    "uniqueItems",
    "patternProperties",
    "propertyNames",
    "contains",
    "not",
)
_NAMES: Final = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
    dict: "object",
    list: "array",
}
_SILENT: Final = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "discriminator"})
_COMPARED: Final = frozenset(
    {"type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems"}
    | {"anyOf", "oneOf", "allOf", "$ref", "$defs", "$schema", "$id", "x-dutiful", "contentMediaType"}
    | _SILENT
    | {*_FLOORS, *_CEILINGS, *_ALIKE}
)


@dataclass(frozen=True)
class Break:
    """One way in which messages that wait would be refused.

    Attributes:
      where: the argument, such as "event.endpoint"; empty: all of them.
      why: what they have, and what is taken now.
      rollout: how to get there without losing them.
    """

    where: str
    why: str
    rollout: str


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Break]:
    """What messages made for one schema of an actor would be refused for by a later one."""
    found = _Comparison(old, new)
    found.compare("", old, new)
    return found.breaks


class _Comparison:
    def __init__(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        self.old, self.new = old, new
        self.breaks: list[Break] = []
        self._seen: set[tuple[str, str]] = set()

    def compare(self, where: str, old: Any, new: Any) -> None:
        """Note what a value of the old rules could meet in the new ones."""
        if isinstance(old, Mapping) and isinstance(new, Mapping) and "$ref" in old and "$ref" in new:
            pair = (old["$ref"], new["$ref"])
            if pair in self._seen:
                return  # a type that holds its own kind
            self._seen.add(pair)
        old, new = _resolved(old, self.old), _resolved(new, self.new)
        if new is False:
            self._say(where, "it takes nothing now")
        if isinstance(new, bool) or not new.keys() - _SILENT:
            return
        if isinstance(old, bool):
            old = {}
        choices = _choices(old)
        if choices is not None:
            for each in choices:
                self.compare(where, each, new)
        elif _choices(new) is not None:
            self._one_of(where, old, _choices(new) or [])
        else:
            for rule in (self._type, self._values, self._bounds, self._object, self._list, self._rest):
                rule(where, old, new)

    def _say(self, where: str, why: str, rollout: str = _BOTH) -> None:
        found = Break(where, why, rollout)
        if found not in self.breaks:
            self.breaks.append(found)

    def _one_of(self, where: str, old: Mapping[str, Any], choices: Sequence[Any]) -> None:
        """Some choice must take all; where none does, the one that comes nearest tells why."""
        before, seen = self.breaks, set(self._seen)
        tried: list[list[Break]] = []
        for choice in choices:
            self.breaks, self._seen = [], set(seen)
            self.compare(where, old, choice)
            tried.append(self.breaks)
        self.breaks = before
        nearest = min(tried, key=lambda each: (len(each), choices[tried.index(each)] == {"type": "null"}))
        for each in nearest:
            self._say(each.where, each.why, each.rollout)

    def _type(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        had, takes = _types(old), _types(new)
        if takes is None:
            return
        if had is None:
            self._say(where, f"it took anything, and takes {_or(takes)} now")
        elif lost := had - takes - ({"integer"} if "number" in takes else set()):
            self._say(where, f"it took {_or(lost)}, and takes {_or(takes)} now")

    def _values(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        had, takes = _listed(old), _listed(new)
        if takes is None:
            return
        if had is None:
            self._say(where, f"it takes nothing but {_or(takes)} now")
        elif lost := [each for each in had if each not in takes]:
            self._say(where, f"it takes {_or(lost)} no longer")

    def _bounds(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        stricter: list[tuple[Sequence[str], Callable[[Any, Any], bool]]] = [
            (_FLOORS, lambda had, takes: had is None or takes > had),
            (_CEILINGS, lambda had, takes: had is None or takes < had),
            (_ALIKE, lambda had, takes: had != takes),
        ]
        for names, is_stricter in stricter:
            for name in names:
                had = old.get(name)
                if name in new and new[name] is not False and is_stricter(had, new[name]):
                    self._say(where, f"{name} was {'not there' if had is None else had}, and is {new[name]} now")

    def _object(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        had, takes = old.get("properties", {}), new.get("properties", {})
        others = new.get("additionalProperties", True)
        for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            self._say(_inside(where, name), "it is required now, and messages that wait may lack it", _DEFAULT)
        for name, rules in had.items():
            if name in takes:
                self.compare(_inside(where, name), rules, takes[name])
            elif others is False:
                self._say(_inside(where, name), "it is gone, and messages that wait may carry it", _KEEP)
            else:
                self.compare(_inside(where, name), rules, others)
        if _types(old) == {"object"} and others is not True:
            before = old.get("additionalProperties", True)
            if others is not False and before is not False:
                self.compare(_inside(where, "*"), before, others)
            elif others is False and before is not False:
                self._say(where, "it took names of any kind, and takes only those that it lists now", _BOTH)

    def _list(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        if _types(old) != {"array"}:
            return
        before, after = old.get("prefixItems", []), new.get("prefixItems", [])
        for place in range(max(len(before), len(after))):
            had = before[place] if place < len(before) else old.get("items", True)
            self.compare(f"{where}[{place}]", had, after[place] if place < len(after) else new.get("items", True))
        if "items" in new and not before:
            self.compare(f"{where}[]", old.get("items", True), new["items"])

    def _rest(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        for name in sorted(new.keys() - _COMPARED):
            if new[name] != old.get(name):
                self._say(where, f"{name} can't be compared; it was {old.get(name)}, and is {new[name]} now")


def _resolved(rules: Any, document: Mapping[str, Any]) -> Any:
    while isinstance(rules, Mapping) and "$ref" in rules:
        target: Any = document
        for word in rules["$ref"].removeprefix("#/").split("/"):
            target = target[word.replace("~1", "/").replace("~0", "~")]
        rules = {**target, **{name: rule for name, rule in rules.items() if name != "$ref"}}
    if isinstance(rules, Mapping) and len(rules.get("allOf", ())) == 1:
        rest = {name: rule for name, rule in rules.items() if name != "allOf"}
        return {**_resolved(rules["allOf"][0], document), **rest}
    return rules


def _choices(rules: Mapping[str, Any]) -> Sequence[Any] | None:
    found: Sequence[Any] | None = rules.get("anyOf", rules.get("oneOf"))
    if found is None and isinstance(rules.get("type"), list):
        return [{**rules, "type": each} for each in rules["type"]]
    return found


def _types(rules: Mapping[str, Any]) -> set[str] | None:
    if "type" in rules:
        return {rules["type"]}
    listed = _listed(rules)
    return None if listed is None else {_NAMES[type(each)] for each in listed}


def _listed(rules: Mapping[str, Any]) -> list[Any] | None:
    return [rules["const"]] if "const" in rules else rules.get("enum")


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _or(words: Any) -> str:
    return " or ".join(sorted(str(each) for each in words))
