"""A problem is a refusal as HTTP says it: RFC 9457, with the four things that every error of ours says."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import Response

from workers.errors import ContractError, DutifulError

STATUS: Final = {
    "malformed": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "method": 405,
    "timeout": 408,
    "in_progress": 409,
    "too_large": 413,
    "media_type": 415,
    "contract": 422,
    "key_used": 422,
    "failed": 500,
    "busy": 503,
    "unavailable": 503,
}
RETRY_SECONDS: Final = 2
_LONGEST: Final = 2_000  # characters of each text: a list of a million wrong numbers has as many complaints


class Refusal(DutifulError):
    """A request that is answered with a problem.

    Parameters:
      kind: one of STATUS.
      headers: what the answer says besides.
    """

    def __init__(
        self,
        kind: str,
        what: str,
        *,
        expected: str = "",
        received: str = "",
        safe_to_retry: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(what, expected=expected, received=received, safe_to_retry=safe_to_retry)
        self.kind = kind
        self.headers = dict(headers or {})


def kind_of(error: DutifulError) -> str:
    """Which kind of problem an error is."""
    if isinstance(error, Refusal):
        return error.kind
    return "contract" if isinstance(error, ContractError) else "unavailable"


def problem(error: DutifulError) -> Response:
    """The answer to a request that was refused, or could not be served."""
    kind = kind_of(error)
    headers = error.headers if isinstance(error, Refusal) else {}
    received = error.received
    if kind == "unavailable" and not isinstance(error, Refusal):
        # What a server said when it could not be reached is for our log: it names hosts.
        received, headers = type(error).__name__, {"Retry-After": str(RETRY_SECONDS)}
    status = STATUS[kind]
    told = DutifulError(
        error.what[:_LONGEST],
        expected=error.expected[:_LONGEST],
        received=received[:_LONGEST],
        safe_to_retry=error.safe_to_retry,
    )
    document = {
        "type": f"urn:dutiful:problem:{kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": str(told),
        "what": told.what,
        "expected": told.expected,
        "received": told.received,
        "safe_to_retry": told.safe_to_retry,
    }
    return answer(status, document, headers, media_type="application/problem+json")


def answer(
    status: int, document: Any, headers: Mapping[str, str] | None = None, *, media_type: str = "application/json"
) -> Response:
    """A JSON document. In ASCII: a text may hold half of a character, which UTF-8 can't write."""
    return Response(json.dumps(document).encode(), status, dict(headers or {}), media_type)
