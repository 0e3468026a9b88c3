"""Traces are carried by messages: each says where it was sent from, also when it is stored first and sent later."""

import sys
from typing import Any

from dramatiq import Message


def stamp(message: Message[Any]) -> None:
    """Write into a message which span stores it; nothing where OpenTelemetry isn't used, or it says so already."""
    if "opentelemetry.trace" not in sys.modules or "traceparent" in message.options:
        return
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415  only where it is used
        TraceContextTextMapPropagator,
    )

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    if "traceparent" in carrier:
        message.options["traceparent"] = carrier["traceparent"]
