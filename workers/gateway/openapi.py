"""The OpenAPI document says what can be asked for: one path an actor, made of its contract."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

import dramatiq

from workers.declaration import Actor
from workers.errors import ContractError
from workers.gateway.body import LONGEST_DELAY_SECONDS
from workers.gateway.examples import example_of
from workers.gateway.problems import STATUS
from workers.schemas import OURS, schema

_DEFS: Final = "#/$defs/"
_PROBLEMS: Final = {
    "400": "no JSON, or an Idempotency-Key that can't be read",
    "401": "no token, or one that is not known",
    "403": "the token is not for this actor",
    "404": "there is no such actor",
    "408": "the body did not arrive in time",
    "409": "the same request is being served: ask again after Retry-After",
    "413": "the body is too large",
    "415": "the body is not said to be JSON",
    "422": "the arguments break the contract, or the Idempotency-Key was used for another request",
    "503": "RabbitMQ did not confirm, or the store is away: ask again after Retry-After",
}
_JOB: Final = {
    "type": "object",
    "required": ["id", "key", "actor", "queue"],
    "properties": {
        "id": {"type": "string", "description": "the message's id"},
        "key": {"type": ["string", "null"], "description": "the job's key; null: no record is kept of it"},
        "actor": {"type": "string"},
        "queue": {"type": "string"},
    },
}
_FOUND: Final = {
    "type": "object",
    "required": ["id", "actor", "key", "state", "meaning", "since", "attempt"],
    "properties": {
        "id": {"type": "string"},
        "actor": {"type": ["string", "null"]},
        "key": {"type": ["string", "null"]},
        "state": {"enum": ["waiting", "running", "done", "dead", "canceled", "unknown"]},
        "meaning": {"type": "string"},
        "since": {"type": ["string", "null"], "format": "date-time"},
        "attempt": {"type": "integer", "minimum": 0},
    },
}
_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "what", "expected", "received", "safe_to_retry"],
    "properties": {
        "type": {"enum": [f"urn:dutiful:problem:{kind}" for kind in STATUS]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "what": {"type": "string", "description": "what failed"},
        "expected": {"type": "string"},
        "received": {"type": "string"},
        "safe_to_retry": {"type": "boolean", "description": "whether the same request again can do harm"},
    },
}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "names this request: its repetition gets the same answer, and is the same job",
    "schema": {"type": "string", "pattern": r"^[!#-~]{1,255}$"},
    "example": "7f3c2a90-order-17",
}
_STORABLE: Final = r"^[^\x00]*$"
_NAME: Final = {"type": "string", "pattern": r"^[!-~]{1,255}$"}


def document(actors: Sequence[dramatiq.Actor[..., Any]]) -> dict[str, Any]:
    """OpenAPI 3.1 for these actors."""
    components: dict[str, Any] = {"job": _JOB, "found": _FOUND, "problem": _PROBLEM}
    paths = {f"/v1/jobs/{actor.actor_name}": {"post": _send(actor, components)} for actor in actors}
    return {
        "openapi": "3.1.0",
        "info": {"title": "dutiful", "version": version("dutiful"), "description": "Send jobs, and ask after them."},
        "security": [{"token": []}],
        "paths": paths | _questions(),
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _send(actor: dramatiq.Actor[..., Any], components: dict[str, Any]) -> dict[str, Any]:
    arguments = _arguments(actor, components)
    about = {name: rule for name, rule in arguments.items() if name == "description"}
    order = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "arguments": arguments,
            "delay_seconds": {"type": "number", "minimum": 0, "maximum": LONGEST_DELAY_SECONDS, "default": 0},
        },
        "required": ["arguments"] if arguments.get("required") else [],
    }
    if getattr(actor, "key", "") is not None:
        order["properties"]["key"] = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": _STORABLE}  # type: ignore[index]
    content: dict[str, Any] = {"schema": order}
    example = _example(actor, arguments, components)
    if example is not None:
        content["example"] = {"arguments": example}
    accepted = {
        "description": "RabbitMQ has confirmed the message",
        "headers": {"Location": {"description": "where to ask after the job", "schema": {"type": "string"}}},
        "content": {"application/json": {"schema": _ref("job")}},
    }
    return {
        "operationId": f"send {actor.actor_name}",
        "summary": about.get("description", actor.actor_name),
        "parameters": [_KEY],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {"202": accepted, **_problems(*_PROBLEMS)},
    }


def _arguments(actor: dramatiq.Actor[..., Any], components: dict[str, Any]) -> dict[str, Any]:
    """The contract, with what it refers to put where OpenAPI looks for it."""
    if not isinstance(actor, Actor):
        return {"type": "object"}
    made = schema(actor)
    for name, rules in made.pop("$defs", {}).items():
        components[_component(actor, name)] = _moved(rules, actor)
    kept = {name: rules for name, rules in made.items() if name not in {"$schema", "$id", "title", OURS}}
    moved: dict[str, Any] = _moved(kept, actor)
    return moved


def _moved(rules: Any, actor: Actor[..., Any]) -> Any:
    if isinstance(rules, dict):
        moved = {name: _moved(each, actor) for name, each in rules.items()}
        reference = moved.get("$ref")
        if isinstance(reference, str) and reference.startswith(_DEFS):
            moved["$ref"] = f"#/components/schemas/{_component(actor, reference.removeprefix(_DEFS))}"
        return moved
    return [_moved(each, actor) for each in rules] if isinstance(rules, list) else rules


def _component(actor: Actor[..., Any], name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in f"{actor.actor_name}.{name}")


def _example(actor: dramatiq.Actor[..., Any], arguments: dict[str, Any], components: dict[str, Any]) -> Any:
    """Arguments that the contract takes; None where the schema alone doesn't lead to any."""
    if not isinstance(actor, Actor):
        return None
    made = example_of(arguments, components)
    try:
        actor.contract.check((), made)
    except (ContractError, TypeError):
        return None
    return made


def _questions() -> dict[str, Any]:
    """The paths that only ask."""
    query = [
        {"name": "actor", "in": "query", "schema": {"type": "string"}, "description": "whose job it is"},
        {"name": "key", "in": "query", "schema": _NAME, "description": "the job's key"},
    ]
    found = {"description": "what the store knows", "content": {"application/json": {"schema": _ref("found")}}}
    job = {
        "operationId": "show a job",
        "summary": "what became of a job",
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": _NAME}, *query],
        "responses": {"200": found, **_problems("401", "403", "404", "422", "503")},
    }
    paths: dict[str, Any] = {"/v1/jobs/{id}": {"get": job}}
    for path, summary in {"/v1/actors": "what can be asked for", "/v1/contracts": "JSON Schema of each"}.items():
        told = {"description": summary, "content": {"application/json": {"schema": {"type": "object"}}}}
        paths[path] = {
            "get": {"operationId": summary, "summary": summary, "responses": {"200": told, **_problems("401", "503")}}
        }
    return paths


def _problems(*statuses: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _ref("problem")}}
    return {status: {"description": _PROBLEMS[status], "content": content} for status in statuses}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
