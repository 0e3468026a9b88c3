"""An example shows arguments that a schema allows: the author's own where there are some, else the plainest."""

from collections.abc import Mapping
from typing import Any, Final

_REFERENCE: Final = "#/components/schemas/"
_DEEPEST: Final = 8
_PLAIN: Final = {"boolean": True, "null": None}
_TEXTS: Final = {
    "uri": "https://example.com/",
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1M",
    "uuid": "0190f5a2-6f1c-7e7b-9c0e-2f6f6f3d1a55",
    "email": "somebody@example.com",
}


def example_of(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int = 0) -> Any:
    """A value that fits the schema as far as the plainest value does; a pattern is beyond it.

    Parameters:
      components: what it may refer to.
      depth: how deep this lies; a schema may contain itself.
    """
    said = [schema[word] for word in ("const", "default") if word in schema]
    said += [each for word in ("examples", "enum") for each in schema.get(word, ())]
    if said:
        return said[0]
    leads = [components[schema["$ref"].removeprefix(_REFERENCE)]] if "$ref" in schema else []
    leads += [each for word in ("anyOf", "oneOf", "allOf") for each in schema.get(word, ())]
    if leads:
        return example_of(leads[0], components, depth + 1) if depth < _DEEPEST else None
    return _plainest(schema, components, depth)


def _plainest(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type", "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            rules = schema.get("properties", {})
            return {name: example_of(rules.get(name, {}), components, depth + 1) for name in schema.get("required", ())}
        case "array":
            inner = schema.get("items", {})
            return [example_of(inner, components, depth + 1) for _ in range(schema.get("minItems", depth < _DEEPEST))]
        case "integer" | "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
            return max(low, 1) if schema.get("maximum", 1) >= 1 else low
        case "string":
            text = _TEXTS.get(schema.get("format", ""), "text")
            return text.ljust(schema.get("minLength", 0), "t")[: schema.get("maxLength")]
        case other:
            return _PLAIN.get(str(other))
