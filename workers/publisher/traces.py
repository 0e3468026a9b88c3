"""Trace context goes along with a job where the service has set up OpenTelemetry."""

from importlib import import_module
from typing import Any

_found: list[Any] = []


def traceparent_of_now() -> str | None:
    """The W3C header of the span that is open here; None where there is none, or no OpenTelemetry."""
    if not _found:
        try:
            _found.append(import_module("opentelemetry.trace.propagation.tracecontext"))
        except ImportError:
            _found.append(None)
    if _found[0] is None:
        return None
    carrier: dict[str, str] = {}
    _found[0].TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
