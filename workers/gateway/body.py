"""A body is read up to a size and a deadline, and parsed, before anybody looks at its arguments."""

import asyncio
import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from workers.depth import refuse_too_deep
from workers.gateway.problems import Refusal
from workers.transport.topology import LONGEST_DELAY_MS

READ_SECONDS: Final = 10.0
LONGEST_DELAY_SECONDS: Final = LONGEST_DELAY_MS // 1000
_LONGEST_KEY: Final = 255
_QUOTED: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')  # a String of RFC 8941
_BARE: Final = re.compile(r"[\x21\x23-\x7e]+")


class Order(BaseModel):
    """What a request asks for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    arguments: dict[str, Any] = Field(default_factory=dict, description="the job's arguments, by name")
    key: str | None = Field(
        None,
        min_length=1,
        max_length=_LONGEST_KEY,
        description="what makes two messages one job",
    )
    delay_seconds: float = Field(0, ge=0, le=LONGEST_DELAY_SECONDS, description="when it may begin, from now")

    @field_validator("key", mode="before")
    @classmethod
    def _refuse_null(cls, given: Any) -> Any:
        if given is None:
            raise ValueError("null is no key; leave it out")
        return given


async def read(request: Request, limit: int) -> bytes:
    """The body as it came.

    Parameters:
      limit: in bytes.

    Raises:
      Refusal: it isn't said to be JSON, is too large, or comes too slowly.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if kind != "application/json" or encoding != "identity":
        raise Refusal(
            "media_type",
            "the body can't be read",
            expected="Content-Type: application/json, and no Content-Encoding",
            received=f"{kind or 'no Content-Type'}, {encoding}"[:100],
        )
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length[:20]) > limit:
        raise _too_large(limit, length)
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await _whole(request, limit)
    except TimeoutError:
        raise Refusal(
            "timeout", "the body did not arrive", expected=f"all of it in {READ_SECONDS:.0f} s", safe_to_retry=True
        ) from None


async def _whole(request: Request, limit: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit, f"more than {limit}")
        parts.append(part)
    return b"".join(parts)


def parse(actor_name: str, body: bytes) -> Order:
    """What a body asks for.

    Raises:
      Refusal: it is no JSON, or no order.
      ContractError: its arguments nest too deep.
    """
    try:
        document = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or more digits or levels than Python reads
        raise Refusal(
            "malformed", "the body is no JSON", expected="a JSON object in UTF-8", received=str(error)[:200]
        ) from None
    try:
        order = Order.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        said = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}".lstrip(": ") for each in found)
        raise Refusal(
            "contract",
            "the body asks for no job",
            expected='an object with "arguments", and perhaps "key" and "delay_seconds"',
            received=said,
        ) from None
    refuse_too_deep(actor_name, order.arguments)
    return order


def idempotency_key(given: Sequence[str]) -> str | None:
    """The key in a request's Idempotency-Key: a quoted string, as the IETF's draft has it, or the bare word.

    Raises:
      Refusal: there are several, or it is none.
    """
    if not given:
        return None
    word = given[0].strip()
    quoted = _QUOTED.fullmatch(word)
    key = re.sub(r'\\(["\\])', r"\1", quoted[1]) if quoted else word if _BARE.fullmatch(word) else ""
    if len(given) > 1 or not 0 < len(key) <= _LONGEST_KEY:
        raise Refusal(
            "malformed",
            "the Idempotency-Key can't be read",
            expected=f'one header with a string of 1 to {_LONGEST_KEY} ASCII characters, such as "7f3c-1"',
            received=f"{len(given)} headers, {len(word)} characters",
        )
    return key


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse_constant(text)
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise Refusal("malformed", "the body is no JSON", expected="numbers that are finite", received=name)


def _too_large(limit: int, size: str) -> Refusal:
    return Refusal(
        "too_large",
        "the body is too large",
        expected=f"{limit} bytes at most: send a reference instead of the data",
        received=f"{size[:20]} bytes",
    )
