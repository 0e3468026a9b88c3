"""The frame is around every answer: its headers, its line in the log, its counts, and an answer where none came."""

import ipaddress
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.gateway import metrics
from workers.gateway.problems import Refusal, problem
from workers.logs import Lines

HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FACTS: Final = "dutiful"
_HUNG_UP: Final = 499  # nginx's number for it; nobody is left to be told
_ASKED_OFTEN: Final = frozenset({"/health", "/health/live", "/metrics"})
_NAME: Final = "dutiful.gateway"
_log = structlog.stdlib.get_logger(_NAME)


@dataclass
class Facts:
    """What the log may say of a request. Nothing in it is as the client wrote it, unless it is known to be harmless.

    Attributes:
      route: the path's pattern; a path itself may hold anything, also a secret.
      fields: more of the line.
    """

    route: str = "other"
    fields: dict[str, Any] = field(default_factory=dict)


def facts(scope: Scope) -> Facts:
    """The facts of a request."""
    found: Facts = scope[_FACTS]
    return found


class Frame:
    """An ASGI middleware.

    Parameters:
      lines: where lines of which there is one a request are written together; None: each by itself.
    """

    def __init__(self, app: ASGIApp, lines: Lines | None = None) -> None:
        self.app = app
        self.lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        about = scope[_FACTS] = Facts()

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                extra = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        try:
            await self.app(scope, receive, framed)
        except ClientDisconnect:
            status = status or _HUNG_UP
        except Exception:  # noqa: BLE001  whoever asks gets an answer, and no traceback
            _log.error("request_failed", route=about.route, exc_info=True)
            if status == 0:
                failed = Refusal("failed", "the gateway failed", expected="an answer", received="an error of its own")
                await problem(failed)(scope, receive, framed)
        finally:
            self._note(scope, about, status, time.perf_counter() - began)

    def _note(self, scope: Scope, about: Facts, status: int, seconds: float) -> None:
        metrics.requests.labels(about.route, str(status)).inc()
        metrics.request_seconds.labels(about.route).observe(seconds)
        if about.route in _ASKED_OFTEN and status < 400:  # noqa: PLR2004  by Prometheus and by supervisors
            return
        client = scope.get("client")
        fields = {"method": scope["method"][:16], "route": about.route, "status": status, **about.fields}
        fields |= {"duration_ms": round(seconds * 1000, 1), "client": _address(client[0]) if client else None}
        if self.lines is None:
            _log.info("request_answered", **fields)
        else:
            self.lines.write("request_answered", "info", _NAME, fields)


@lru_cache(maxsize=1024)
def _address(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
